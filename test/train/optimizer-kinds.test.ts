// Every kind of optimizer in a run: restored inside an accumulation, and rows of a parameter replaced.
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writePth } from '../../ts/checkpoint/index.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import type { Parameters } from '../../ts/nn/index.js';
import { AdamW, annealGroups, EMA, GradScaler, OptimizerStep, SGD } from '../../ts/optim/index.js';
import { decodeState, encodeState, ModelOptimizer, type OptimizerState } from '../../ts/train/index.js';
import { temporaryFolder } from '../unit/checkpoint/temporary.js';
import { distance, gradient, makeParams, snapshot, valuesOf } from '../unit/optim/kit.js';

const test = suite('the kinds of optimizers');
const folder = temporaryFolder();
let engine: Engine;
test.before(async () => {
  engine = await createEngine({ threads: 1 });
});
test.after(() => engine.close());

const KINDS = {
  'adamw, 32 bits': (params: Parameters) => new AdamW(params, { betas: [0.9, 0.95] }),
  'adamw, 8 bits': (params: Parameters) => new AdamW(params, { betas: [0.9, 0.95], bits: 8 }),
  'sgd with momentum': (params: Parameters) => new SGD(params, { momentum: 0.9 }),
  'sgd without': (params: Parameters) => new SGD(params),
} as const;

async function make(kind: keyof typeof KINDS, seed = 1): Promise<ModelOptimizer> {
  const params = await makeParams(engine, seed);
  const stepper = new OptimizerStep(KINDS[kind](params), { clip: 2, accumulation: 2, scaler: new GradScaler({ growthInterval: 2 }) });
  return new ModelOptimizer(params, stepper, new EMA(params, 0.8));
}

/** Half an accumulation: gradients are added. */
function half(optimizer: ModelOptimizer, gIt: number): void {
  const { params, lossScale } = optimizer;
  if (gIt % 2 === 0) optimizer.zeroGrads();
  engine.scope(() => {
    for (const name of params.names) {
      const grad = params.grad(name);
      const data = gradient(name, grad.size, gIt).map((value) => value * lossScale);
      engine.ops.accumulate(grad, engine.tensor(data, grad.shape), {});
    }
  });
}

async function iterate(optimizer: ModelOptimizer, from: number, to: number): Promise<number[]> {
  const norms: number[] = [];
  for (let gIt = from; gIt < to; gIt++) {
    annealGroups(optimizer.groups, { lr: 0.01, wd: 0.1 });
    half(optimizer, gIt);
    if (gIt % 2 === 1) norms.push((await optimizer.step(false)).gradNorm);
  }
  return norms;
}

/** State to a file and back, as a checkpoint of a run does it. */
async function through(state: OptimizerState, use: (state: OptimizerState) => Promise<void>, name: string): Promise<void> {
  const path = join(folder, `${name.replace(/\W+/g, '-')}.pth`);
  await writePth(path, encodeState(state));
  const checkpoint = await openCheckpoint(path, { root: '' });
  try {
    await use(decodeState(checkpoint) as unknown as OptimizerState);
  } finally {
    checkpoint.close();
  }
}

function dispose(...optimizers: ModelOptimizer[]): void {
  for (const optimizer of optimizers) {
    optimizer.dispose();
    optimizer.params.dispose();
  }
}

for (const kind of Object.keys(KINDS) as (keyof typeof KINDS)[])
  test(`${kind}: restored inside an accumulation it goes on bit for bit, averages and scale included`, async () => {
    const [whole, first] = [await make(kind), await make(kind)];
    const norms = await iterate(whole, 0, 9);
    await iterate(first, 0, 5);
    const second = await make(kind, 2);
    engine.scope(() => {
      for (const name of first.params.names) {
        const value = first.params.get(name);
        engine.ops.writeSlice(second.params.get(name), value, { axis: 0, start: 0 });
      }
    });
    await through(first.state(true), (state) => second.restore(state), kind);
    assert.equal(await iterate(second, 5, 9), norms.slice(2));
    assert.is(distance(await snapshot(second.params), await snapshot(whole.params)), 0);
    assert.is(distance(await snapshot(second.ema!.average), await snapshot(whole.ema!.average)), 0);
    assert.is(second.lossScale, whole.lossScale);
    assert.is(second.lossScale, 2 ** 12, 'the scale has grown twice');
    dispose(whole, first, second);
  });

for (const kind of ['adamw, 32 bits', 'adamw, 8 bits', 'sgd with momentum'] as const)
  test(`${kind}: replaced rows forget their moments and their average`, async () => {
    const optimizer = await make(kind);
    await iterate(optimizer, 0, 4);
    const rows = Int32Array.of(2, 3, 29);
    optimizer.clearRows('b.weight', rows);
    const [now, average] = [await valuesOf(optimizer.params.get('b.weight')), await valuesOf(optimizer.ema!.average.get('b.weight'))];
    optimizer.zeroGrads();
    annealGroups(optimizer.groups, { lr: 0.01, wd: 0 });
    await optimizer.step(false);
    const next = await valuesOf(optimizer.params.get('b.weight'));
    for (let row = 0; row < 30; row++) {
      const same = (other: Float32Array) => now.subarray(20 * row, 20 * row + 20).every((x, i) => x === other[20 * row + i]);
      assert.is(same(next), rows.includes(row), `moments of row ${row}`);
      assert.is(same(average), rows.includes(row), `average of row ${row}`);
    }
    dispose(optimizer);
  });

test.run();
