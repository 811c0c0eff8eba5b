// driver: timeout=300 alone
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, VAR, VQVAE } from '../../../ts/index.js';

const test = suite('event loop');

test('a timer of 1 ms fires on time while images are generated', async () => {
  await using engine = await createEngine();
  await using vqvae = await VQVAE.init(engine, { ch: 32, seed: 1 });
  await using model = await VAR.init(engine, { vqvae, config: { depth: 12 }, seed: 2 });
  await model.generate({ labels: 1, seed: 1 });
  const late: number[] = [];
  let last = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    late.push(now - last - 1);
    last = now;
  }, 1);
  await model.generate({ labels: 1, seed: 2 });
  clearInterval(timer);
  assert.ok(late.length > 200, `${late.length} ticks`);
  late.sort((a, b) => a - b);
  const p99 = late[Math.floor(0.99 * late.length)]!;
  assert.ok(p99 < 10, `p99 ${p99.toFixed(1)} ms, largest ${late.at(-1)!.toFixed(1)} ms of ${late.length}`);
});

test.run();
