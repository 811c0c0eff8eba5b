import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox } from '../../../ts/core/philox.js';
import { createEngine, type Tensor } from '../../../ts/engine/index.js';
import { OPS } from '../../../ts/gen/ops.js';
import { digest, ofData, ofOp } from './digest.js';

const test = suite('order of execution');

interface Live {
  tensor: Tensor;
  digest: number;
}

// A program of random makes, in-place changes, reads, disposes and flushes, next to a model that computes what must come out.
async function randomProgram(seed: number, steps: number): Promise<{ checked: number; wrong: number }> {
  const engine = await createEngine({ device: 'null', maxInFlightCommands: 64 });
  const random = new Philox(seed);
  const live: Live[] = [];
  const reads: Promise<boolean>[] = [];
  const pick = (): Live => live[random.below(live.length)] as Live;
  const make = (): void => {
    const data = new Float32Array([random.next(), random.next()]);
    live.push({ tensor: engine.tensor(data, [2]), digest: ofData(data) });
  };
  make();
  for (let i = 0; i < steps; i++) {
    const a = pick();
    const b = pick();
    switch (random.below(8)) {
      case 0:
        make();
        break;
      case 1:
        live.push({ tensor: engine.ops.unary(a.tensor, { fn: 'exp' }), digest: ofOp(OPS.unary, [{ i: 2 }], [a.digest]) });
        break;
      case 2:
        live.push({
          tensor: engine.ops.binary(a.tensor, b.tensor, { fn: 'mul' }),
          digest: ofOp(OPS.binary, [{ i: 2 }], [a.digest, b.digest]),
        });
        break;
      case 3:
      case 4: {
        engine.ops.accumulate(a.tensor, b.tensor, { alpha: i });
        a.digest = ofOp(OPS.accumulate, [{ f: i }, { f: 1 }], [a.digest, b.digest]);
        break;
      }
      case 5: {
        const want = a.digest;
        reads.push(a.tensor.read().then((v) => digest(v) === want));
        break;
      }
      case 6:
        if (live.length > 1) {
          live.splice(live.indexOf(a), 1);
          a.tensor.dispose();
        }
        break;
      default:
        if (random.below(4) === 0) await (random.below(2) ? engine.flush() : engine.throttle());
    }
    if (i % 50 === 0) await engine.throttle();
  }
  for (const { tensor, digest: want } of live) reads.push(tensor.read().then((v) => digest(v) === want));
  const results = await Promise.all(reads);
  await engine.close();
  return { checked: results.length, wrong: results.filter((ok) => !ok).length };
}

for (let seed = 1; seed <= 12; seed++) {
  test(`random interleaving, seed ${seed}`, async () => {
    const { checked, wrong } = await randomProgram(seed, 400);
    assert.ok(checked > 20, `only ${checked} reads`);
    assert.is(wrong, 0);
  });
}

test('a read sees the tensor as it was when read was called', async () => {
  const engine = await createEngine({ device: 'null', fault: { delayUs: 200 } });
  const data = new Float32Array([1, 2]);
  const t = engine.tensor(data, [2]);
  data[0] = 99; // the engine holds a copy
  engine.ops.accumulate(t, t);
  const first = t.read();
  engine.ops.accumulate(t, t);
  const second = t.read();
  t.dispose();
  const start = ofData(new Float32Array([1, 2]));
  const once = ofOp(OPS.accumulate, [{ f: 1 }, { f: 1 }], [start, start]);
  assert.is(digest(await first), once);
  assert.is(digest(await second), ofOp(OPS.accumulate, [{ f: 1 }, { f: 1 }], [once, once]));
  await engine.close();
});

test.run();
