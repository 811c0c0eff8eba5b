// The optimizer that the loop drives, on an engine: state through a checkpoint file, gradients half-way, bad losses, replaced rows.
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writePth } from '../../ts/checkpoint/index.js';
import { createEngine, type Tensor } from '../../ts/engine/index.js';
import { InitSource, Parameters, type ParamSpec } from '../../ts/nn/index.js';
import { AdamW, EMA, GradScaler, OptimizerStep } from '../../ts/optim/index.js';
import { decodeState, encodeState, ModelOptimizer, type OptimizerState, savedWeights } from '../../ts/train/index.js';
import { folder } from './support.js';

const specs: ParamSpec[] = [
  { name: 'codes.weight', shape: [6, 5], init: { kind: 'uniform', bound: 1 } },
  { name: 'out.weight', shape: [3, 7], init: { kind: 'uniform', bound: 1 } },
  { name: 'out.bias', shape: [7], init: { kind: 'constant', value: 0 } },
];

const engine = await createEngine({ threads: 2 });
test.after(() => engine.close());

async function make(bits: 32 | 8 = 32): Promise<ModelOptimizer> {
  const params = await Parameters.create(engine, specs, new InitSource(specs, 3), { noDecay: (_, shape) => shape.length === 1 });
  const stepper = new OptimizerStep(new AdamW(params, { betas: [0.9, 0.95], bits }), {
    clip: 2,
    accumulation: 2,
    scaler: new GradScaler({ growthInterval: 3 }),
  });
  const optimizer = new ModelOptimizer(params, stepper, new EMA(params, 0.8));
  for (const group of optimizer.groups) Object.assign(group, { lr: 0.01, weightDecay: 0.1 });
  return optimizer;
}

/** Adds numbers that depend on the iteration to all gradients. */
function addGradients({ params }: ModelOptimizer, it: number, scale: number, bad = Number.NaN): void {
  for (const [p, name] of params.names.entries()) {
    const grad = params.grad(name);
    const values = Float32Array.from({ length: grad.size }, (_, i) => Math.sin(i + 10 * p + it) * scale);
    if (bad === p) values[0] = Number.POSITIVE_INFINITY;
    engine.scope(() => engine.ops.accumulate(grad, engine.tensor(values, grad.shape)));
  }
}

async function everything({ params, ema, stepper }: ModelOptimizer): Promise<Record<string, unknown>> {
  const out: Record<string, unknown> = { scale: stepper.scaler!.scale, steps: stepper.optimizer.steps };
  for (const name of params.names) {
    out[name] = await params.get(name).read();
    out[`${name} average`] = await ema!.average.get(name).read();
    out[`${name} gradient`] = await params.grad(name).read();
  }
  return out;
}

/** Through a file, into another optimizer. */
async function throughFile(from: OptimizerState, weights: Parameters, into: ModelOptimizer): Promise<void> {
  const path = join(folder(), 'state.pth');
  await writePth(path, encodeState({ weights: weights.stateDict(), ...from }));
  const file = await openCheckpoint(path, { root: '' });
  const state = decodeState(file);
  await into.params.load(savedWeights('weights', state.weights));
  await into.restore({ optimizer: state.optimizer, more: state.more });
  await engine.flush();
  file.close();
}

for (const bits of [32, 8] as const)
  test(`moments of ${bits} bits, scaler, average and half an accumulation survive a file, bit for bit`, async () => {
    const [a, b] = [await make(bits), await make(bits)];
    for (let it = 0; it < 9; it++) {
      if (it % 2 === 0) a.zeroGrads();
      addGradients(a, it, a.lossScale);
      if (it % 2 === 1) await a.step(false);
    }
    assert.is(a.stepper.scaler!.scale, 2 ** 12);
    await throughFile(a.state(true), a.params, b);
    assert.equal(await everything(b), await everything(a));
    for (const o of [a, b]) {
      addGradients(o, 9, o.lossScale);
      assert.not((await o.step(false)).skipped);
    }
    assert.equal(await everything(b), await everything(a));
    const c = await make(bits);
    await throughFile(a.state(false), a.params, c);
    assert.equal(await c.params.grad('out.bias').read(), new Float32Array(7), 'gradients are kept only where they are needed');
    for (const o of [a, b, c]) {
      o.dispose();
      o.params.dispose();
    }
  });

test('a bad loss changes nothing but the scale, and names the first bad gradient', async () => {
  const o = await make();
  o.zeroGrads();
  addGradients(o, 0, 1);
  const before = await everything(o);
  const finite = await o.step(true);
  assert.equal([finite.skipped, finite.nonFinite, finite.firstBad], [true, 0, null]);
  assert.equal(await everything(o), { ...before, scale: 2 ** 10 });
  addGradients(o, 1, 1, 1);
  const report = await o.step(true);
  assert.equal([report.skipped, report.nonFinite, report.firstBad], [true, 1, 'out.weight']);
  const gradient = await o.step(false);
  assert.equal([gradient.skipped, gradient.nonFinite, gradient.firstBad], [true, 1, 'out.weight']);
  assert.is(o.stepper.optimizer.steps, 0);
  assert.equal(await o.params.get('out.weight').read(), before['out.weight']);
  assert.equal(await o.ema!.average.get('out.weight').read(), before['out.weight average']);
  o.dispose();
  o.params.dispose();
});

test('moments of replaced rows start from zero, the others stay', async () => {
  const o = await make();
  o.zeroGrads();
  addGradients(o, 0, 1);
  await o.step(false);
  const { groups, optimizer } = o.stepper;
  const index = groups.flatMap(({ names }) => names).indexOf('codes.weight');
  const moments = async () => {
    const { state } = optimizer.state(groups) as { state: Map<number, { exp_avg: Tensor }> };
    return (await state.get(index)!.exp_avg.read()) as Float32Array;
  };
  const before = await moments();
  o.clearRows('codes.weight', Int32Array.of(1, 4));
  const after = await moments();
  assert.is(after.length, 30);
  for (let i = 0; i < 30; i++) assert.is(after[i], [1, 4].includes(Math.floor(i / 5)) ? 0 : before[i]);
  assert.ok([5, 9, 20, 24].every((i) => before[i] !== 0));
  o.dispose();
  o.params.dispose();
});

test.run();
