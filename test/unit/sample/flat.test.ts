// driver: timeout=600 alone
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine } from '../../../ts/index.js';
import { liveBytes, small } from './kit.js';

const test = suite('memory over many rounds');

const WARM_UP = 160;
const ROUNDS = 200;
const MIB = 2 ** 20;

// What is measured is what stays, not what V8 has not collected yet.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const mean = (list: readonly number[]) => list.reduce((a, b) => a + b) / list.length;

test('200 rounds of loading, generating and disposing leave live bytes, heap and RSS flat', async () => {
  await using engine = await createEngine();
  const [rss, heap]: [number[], number[]] = [[], []];
  for (let i = 0; i < WARM_UP + ROUNDS; i++) {
    const models = await small(engine);
    await models.model.generate({ labels: [1, 2], seed: i });
    models.dispose();
    assert.is(await liveBytes(engine), 0);
    assert.is(engine.memory().tensors, 0);
    if (i % 5 === 4) {
      collect();
      await new Promise((resolve) => setImmediate(resolve));
      const used = process.memoryUsage();
      rss.push(used.rss / MIB);
      heap.push(used.heapUsed / MIB);
    }
  }
  for (const [name, list] of [
    ['RSS', rss],
    ['heap', heap],
  ] as const) {
    const [start, end] = [mean(list.slice(WARM_UP / 5, WARM_UP / 5 + 8)), mean(list.slice(-8))];
    assert.ok(end / start < 1.03, `${name} went from ${start.toFixed(1)} to ${end.toFixed(1)} MiB`);
  }
});

test.run();
