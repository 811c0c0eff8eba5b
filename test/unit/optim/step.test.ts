import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Capture, createEngine, type Engine } from '../../../ts/engine/index.js';
import type { Parameters } from '../../../ts/nn/index.js';
import { Adam, AdamW, EMA, GradScaler, type GradStats, type Optimizer, OptimizerStep, SGD } from '../../../ts/optim/index.js';
import { distance, gradient, makeParams, setGradients, setRates, snapshot, valuesOf } from './kit.js';

const test = suite('optimizer step');
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

const LR = 0.01;
const WD = 0.1;

/** The same by plain loops in double precision: moments m and v, or the velocity m. */
function reference(
  params: Parameters,
  start: ReadonlyMap<string, Float32Array>,
  kind: 'adamw' | 'adam' | 'sgd',
  steps: number,
  clip: number,
) {
  const p = new Map([...start].map(([name, values]) => [name, Float64Array.from(values)]));
  const zero = () => new Map([...start].map(([name, values]) => [name, new Float64Array(values.length)]));
  const [m, v] = [zero(), zero()];
  const [b1, b2, eps] = [0.9, 0.95, 1e-8];
  for (let t = 1; t <= steps; t++) {
    const g = new Map([...p].map(([name, values]) => [name, Float64Array.from(gradient(name, values.length, t))]));
    const norm = Math.sqrt([...g.values()].reduce((sum, list) => sum + list.reduce((s, x) => s + x * x, 0), 0));
    const factor = clip > 0 ? Math.min(1, clip / (norm + 1e-6)) : 1;
    for (const [name, values] of p) {
      const wd = params.noDecay(name) ? 0 : WD;
      values.forEach((x, i) => {
        let grad = g.get(name)![i]! * factor;
        if (kind !== 'adamw') grad += wd * x;
        const mi = kind === 'sgd' ? 0.9 * m.get(name)![i]! + grad : b1 * m.get(name)![i]! + (1 - b1) * grad;
        const vi = b2 * v.get(name)![i]! + (1 - b2) * grad * grad;
        m.get(name)![i] = mi;
        v.get(name)![i] = vi;
        const step = kind === 'sgd' ? mi : mi / (1 - b1 ** t) / (Math.sqrt(vi / (1 - b2 ** t)) + eps);
        values[i] = (kind === 'adamw' ? x * (1 - LR * wd) : x) - LR * step;
      });
    }
  }
  return p;
}

const OPTIMIZERS: [string, 'adamw' | 'adam' | 'sgd', (params: Parameters) => Optimizer][] = [
  ['AdamW', 'adamw', (params) => new AdamW(params, { betas: [0.9, 0.95] })],
  ['Adam', 'adam', (params) => new Adam(params, { betas: [0.9, 0.95] })],
  ['SGD', 'sgd', (params) => new SGD(params, { momentum: 0.9 })],
];

for (const [name, kind, make] of OPTIMIZERS)
  for (const clip of [0, 2])
    test(`${name}${clip ? ' with clipping' : ''} over groups of different decay, as plain loops do it`, async () => {
      using params = await makeParams(engine);
      using optimizer = make(params);
      const start = await snapshot(params);
      const stepper = new OptimizerStep(optimizer, { clip });
      for (let t = 1; t <= 5; t++) {
        setRates(stepper, LR, WD);
        setGradients(params, t);
        const report = await stepper.run();
        assert.not.ok(report.skipped);
      }
      const want = reference(params, start, kind, 5, clip);
      assert.ok(distance(await snapshot(params), want) < 2e-6, String(distance(await snapshot(params), want)));
      assert.ok(distance(await snapshot(params), start) > 0.01);
      assert.is(optimizer.steps, 5);
      stepper.dispose();
    });

test('several flat tensors give the same as one, but for the order of the norm', async () => {
  const results = [];
  for (const bucketElements of [2 ** 30, 100]) {
    using params = await makeParams(engine, 1, { bucketElements });
    using optimizer = new AdamW(params);
    const stepper = new OptimizerStep(optimizer, { clip: 1 });
    for (let t = 1; t <= 3; t++) {
      setRates(stepper, LR, WD);
      setGradients(params, t);
      await stepper.run();
    }
    results.push(await snapshot(params));
    stepper.dispose();
  }
  assert.ok(distance(results[0]!, results[1]!) < 1e-6);
});

test('norms: of all parameters, and of each', async () => {
  using params = await makeParams(engine);
  using optimizer = new AdamW(params);
  const stepper = new OptimizerStep(optimizer);
  assert.is(stepper.gradNorm, -1);
  setGradients(params, 1);
  const { gradNorm, scaleLog2 } = await stepper.run();
  const each = await stepper.perParameter();
  assert.equal([...each.keys()], params.names);
  let sum = 0;
  for (const name of params.names) {
    const want = Math.sqrt(gradient(name, params.get(name).size, 1).reduce((s, x) => s + x * x, 0));
    assert.ok(Math.abs(each.get(name)! - want) < 1e-5 * want);
    sum += want * want;
  }
  assert.ok(Math.abs(gradNorm - Math.sqrt(sum)) < 1e-5 * gradNorm);
  assert.is(stepper.gradNorm, gradNorm);
  assert.is(scaleLog2, null);
  stepper.dispose();
});

for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
  test(`a gradient of ${bad} leaves parameters, moments and the count of steps untouched and is named`, async () => {
    using params = await makeParams(engine);
    using optimizer = new AdamW(params);
    const stepper = new OptimizerStep(optimizer, { clip: 1 });
    setRates(stepper, LR, WD);
    setGradients(params, 1);
    await stepper.run();
    const before = await snapshot(params);
    const moments = async () => {
      const { state } = optimizer.state() as { state: Map<number, { exp_avg: import('../../../ts/engine/index.js').Tensor }> };
      return await Promise.all([...state.values()].map(({ exp_avg }) => valuesOf(exp_avg)));
    };
    const kept = await moments();
    setGradients(params, 2);
    const place = engine.view(params.grad('b.weight'), 599, [1]);
    engine.ops.writeSlice(place, engine.tensor(Float32Array.of(bad), [1]), { axis: 0, start: 0 });
    const report = await stepper.run();
    assert.equal([report.skipped, report.nonFinite, report.firstBad], [true, 1, 'b.weight']);
    assert.ok(Number.isFinite(report.gradNorm));
    assert.is(distance(await snapshot(params), before), 0);
    assert.equal(await moments(), kept);
    assert.is(optimizer.steps, 1);
    stepper.dispose();
  });

test('the scaler is undone before norm and update, halves after a bad step and is told as a logarithm', async () => {
  const results = [];
  for (const scaler of [undefined, new GradScaler()]) {
    using params = await makeParams(engine);
    using optimizer = new AdamW(params);
    const stepper = new OptimizerStep(optimizer, { clip: 1, scaler, accumulation: 2 });
    assert.is(stepper.lossScale, scaler ? 1024 : 0.5);
    setRates(stepper, LR, WD);
    setGradients(params, 1, scaler?.scale);
    const report = await stepper.run();
    assert.is(report.scaleLog2, scaler ? 11 : null);
    results.push([report.gradNorm, await snapshot(params)] as const);
    if (scaler) {
      setGradients(params, 1, Number.POSITIVE_INFINITY);
      assert.ok((await stepper.run()).skipped);
      assert.is(scaler.scale, 1024);
    }
    stepper.dispose();
  }
  assert.is(results[0]![0], results[1]![0]);
  assert.is(distance(results[0]![1], results[1]![1]), 0);
});

test('the average of weights follows slowly and has room of its own', async () => {
  using params = await makeParams(engine);
  using ema = new EMA(params, 0.9);
  using optimizer = new SGD(params);
  const stepper = new OptimizerStep(optimizer);
  const want = new Map([...(await snapshot(params))].map(([name, values]) => [name, Float64Array.from(values)]));
  for (let t = 1; t <= 4; t++) {
    setRates(stepper, 0.1, 0);
    setGradients(params, t);
    await stepper.run();
    ema.update();
    for (const [name, values] of await snapshot(params)) {
      const list = want.get(name)!;
      for (const [i, value] of values.entries()) list[i] = 0.9 * list[i]! + 0.1 * value;
    }
  }
  assert.ok(distance(await snapshot(ema.average), want) < 1e-5);
  assert.equal([...ema.state().keys()], params.names);
  stepper.dispose();
});

test('8-bit moments stay close to those of 32 bits over 50 steps', async () => {
  const results = [];
  for (const bits of [32, 8] as const) {
    using params = await makeParams(engine);
    using optimizer = new AdamW(params, { betas: [0.9, 0.95], bits });
    const stepper = new OptimizerStep(optimizer);
    const start = await snapshot(params);
    for (let t = 1; t <= 50; t++) {
      setRates(stepper, LR, WD);
      setGradients(params, t % 7);
      await stepper.run();
    }
    results.push({ start, end: await snapshot(params) });
    stepper.dispose();
  }
  const [exact, coarse] = results as [(typeof results)[0], (typeof results)[0]];
  let [moved, off] = [0, 0];
  for (const [name, values] of exact.end)
    values.forEach((value, i) => {
      moved += (value - exact.start.get(name)![i]!) ** 2;
      off += (value - coarse.end.get(name)![i]!) ** 2;
    });
  assert.ok(Math.sqrt(moved) > 0.5);
  assert.ok(off < 0.05 * moved, `${Math.sqrt(off / moved)}`);
});

const RECORDED: [string, (params: Parameters) => Optimizer][] = [
  ...OPTIMIZERS.map(([name, , make]) => [name, make] as [string, (params: Parameters) => Optimizer]),
  ['AdamW with 8 bits', (params) => new AdamW(params, { bits: 8 })],
];

for (const [name, make] of RECORDED)
  test(`${name}, recorded: the bits of plain steps; a loss or gradient that is not finite changes nothing`, async () => {
    const outcome = async (record: boolean) => {
      using params = await makeParams(engine);
      using optimizer = make(params);
      const scaler = new GradScaler({ growthInterval: 2 });
      const stepper = new OptimizerStep(optimizer, { clip: 2, scaler });
      using dynamic = engine.tensor(new Float32Array(stepper.rates().length), [stepper.rates().length]);
      using loss = engine.tensor(new Float32Array(1), [1]);
      const reports: unknown[] = [];
      let captured: Capture<GradStats> | undefined;
      for (let t = 1; t <= 6; t++) {
        setRates(stepper, LR / t, WD * t);
        setGradients(params, t);
        const finite = t !== 3;
        if (t === 5)
          params.grad(params.names[1]!).write(new Float32Array(params.get(params.names[1]!).size).fill(Number.POSITIVE_INFINITY));
        if (!record) {
          reports.push(await (finite ? stepper.run() : stepper.refuse()), optimizer.steps);
          continue;
        }
        dynamic.write(stepper.rates());
        loss.write(Float32Array.of(finite ? 1e30 : Number.NaN));
        if (captured) {
          captured.replay();
          optimizer.repeated();
        } else captured = engine.capture(() => stepper.record(dynamic, loss));
        reports.push(await stepper.settled(captured.outputs, finite), optimizer.steps);
      }
      const values = await snapshot(params);
      const { total, buckets } = captured?.outputs ?? { total: undefined, buckets: [] };
      for (const tensor of [total, ...buckets]) tensor?.dispose();
      captured?.dispose();
      stepper.dispose();
      return { reports, values, scaler: scaler.state() };
    };
    const [plain, recorded] = [await outcome(false), await outcome(true)];
    assert.equal(recorded, plain);
    assert.equal(
      plain.reports.filter((r) => typeof r === 'number'),
      [1, 2, 2, 3, 3, 4],
    );
  });

test('wrong options are refused', async () => {
  using params = await makeParams(engine);
  assert.throws(() => new AdamW(params, { betas: [0.9, 1] }), /betas\[1\]/);
  assert.throws(() => new AdamW(params, { bits: 16 as 8 }), /bits is 16/);
  assert.throws(() => new SGD(params, { nesterov: true }), /nesterov/);
});

test.run();
