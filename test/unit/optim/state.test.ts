import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writePth } from '../../../ts/checkpoint/index.js';
import { createEngine, type Engine } from '../../../ts/engine/index.js';
import type { Parameters } from '../../../ts/nn/index.js';
import { Adam, AdamW, GradScaler, type Optimizer, OptimizerStep, SGD } from '../../../ts/optim/index.js';
import { decodeState, encodeState } from '../../../ts/train/saved.js';
import { temporaryFolder } from '../checkpoint/temporary.js';
import { distance, gradient, makeParams, setGradients, setRates, snapshot, valuesOf } from './kit.js';

const test = suite('optimizer state');
const folder = temporaryFolder();
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

async function steps(stepper: OptimizerStep, from: number, to: number): Promise<void> {
  for (let t = from; t <= to; t++) {
    setRates(stepper, 0.01, 0.1);
    setGradients(stepper.optimizer.params, t, stepper.scaler?.scale);
    await stepper.run();
  }
}

async function save(file: string, value: unknown): Promise<string> {
  const path = join(folder, file);
  await writePth(path, encodeState(value));
  return path;
}

const KINDS: [string, (params: Parameters) => Optimizer][] = [
  ['AdamW', (params) => new AdamW(params, { betas: [0.9, 0.95] })],
  ['AdamW with 8 bits', (params) => new AdamW(params, { bits: 8 })],
  ['Adam', (params) => new Adam(params)],
  ['SGD', (params) => new SGD(params, { momentum: 0.9 })],
  ['plain SGD', (params) => new SGD(params)],
];

for (const [i, [name, make]] of KINDS.entries())
  test(`${name}: written, read and continued, bit for bit`, async () => {
    using params = await makeParams(engine);
    using optimizer = make(params);
    const stepper = new OptimizerStep(optimizer, { clip: 1, scaler: new GradScaler({ growthInterval: 2 }) });
    await steps(stepper, 1, 3);
    const path = await save(`state${i}.pth`, { weights: params.stateDict(), var_opt: stepper.state() });
    await steps(stepper, 4, 6);
    using again = await makeParams(engine, 2);
    using other = make(again);
    const resumed = new OptimizerStep(other, { clip: 1, scaler: new GradScaler() });
    await steps(resumed, 8, 8);
    const checkpoint = await openCheckpoint(path, { root: '' });
    await again.load(checkpoint.at('weights'));
    await resumed.restore(decodeState(checkpoint).var_opt);
    await steps(resumed, 4, 6);
    assert.is(distance(await snapshot(again), await snapshot(params)), 0);
    assert.is(resumed.scaler!.scale, stepper.scaler!.scale);
    for (const each of [stepper, resumed]) each.dispose();
  });

test('before the first step the state is empty, and restoring it starts afresh', async () => {
  using params = await makeParams(engine);
  using optimizer = new AdamW(params);
  const empty = optimizer.state() as { state: Map<number, unknown>; param_groups: unknown[] };
  assert.is(empty.state.size, 0);
  assert.is(empty.param_groups.length, 2);
  const stepper = new OptimizerStep(optimizer);
  await steps(stepper, 1, 1);
  await optimizer.restore(empty);
  assert.is(optimizer.steps, 0);
  await steps(stepper, 1, 1);
  const { state } = optimizer.state() as { state: Map<number, { exp_avg: import('../../../ts/engine/index.js').Tensor }> };
  const want = gradient('a.weight', 35, 1).map((x) => Math.fround(x * 0.1));
  assert.ok((await valuesOf(state.get(0)!.exp_avg)).every((x, k) => Math.abs(x - want[k]!) < 1e-6));
  stepper.dispose();
});

test('state of other parameters or another kind is refused', async () => {
  using params = await makeParams(engine);
  using optimizer = new AdamW(params);
  using coarse = new AdamW(params, { bits: 8 });
  const state = optimizer.state() as { param_groups: { params: number[] }[] };
  const fails = async (work: Promise<void>, pattern: RegExp) =>
    await work.then(
      () => assert.unreachable(),
      (error: unknown) => assert.match(String(error), pattern),
    );
  await fails(coarse.restore(state), /32 bits, this optimizer's have 8/);
  await fails(optimizer.restore(coarse.state()), /8 bits, this optimizer's have 32/);
  await fails(optimizer.restore({}), /no param_groups/);
  await fails(optimizer.restore({ state: {}, param_groups: [{ params: [0, 1] }] }), /groups of 2 parameters/);
});

test('moments of single rows are forgotten', async () => {
  for (const bits of [32, 8] as const) {
    using params = await makeParams(engine);
    using optimizer = new AdamW(params, { bits });
    const stepper = new OptimizerStep(optimizer);
    await steps(stepper, 1, 4);
    optimizer.resetRows('b.weight', Int32Array.of(3, 4, 29));
    const before = await valuesOf(params.get('b.weight'));
    params.zeroGrads();
    setRates(stepper, 0.01, 0);
    await stepper.run();
    const after = await valuesOf(params.get('b.weight'));
    for (let row = 0; row < 30; row++) {
      const same = after.subarray(row * 20, row * 20 + 20).every((x, k) => x === before[row * 20 + k]);
      assert.is(same, [3, 4, 29].includes(row), `row ${row} with ${bits} bits`);
    }
    stepper.dispose();
  }
});

const TORCH = `
import sys, torch
path, out, version = sys.argv[1:]
d = torch.load(path, map_location='cpu')
names = list(d['weights'])
params = {k: torch.nn.Parameter(v.clone()) for k, v in d['weights'].items()}
groups = [{'params': [params[k] for k in g], 'wd_sc': 0., 'lr_sc': 1.} for g in d['groups']]
opt = torch.optim.AdamW(groups, lr=1.0, betas=(0.5, 0.5))
opt.load_state_dict(d['var_opt']['optimizer'])
assert opt.param_groups[0]['betas'] == (0.9, 0.95), opt.param_groups[0]
scaler = torch.cuda.amp.GradScaler(enabled=False)
assert sorted(d['var_opt']['scaler']) == sorted(['scale', 'growth_factor', 'backoff_factor', 'growth_interval', '_growth_tracker'])
for k, g in d['grads'].items(): params[k].grad = g
opt.step()
torch.save({k: v.detach() for k, v in params.items()}, out)
print('ok', torch.__version__)
`;

function torchRuns(args: string[]): string | null {
  const script = join(folder, 'load.py');
  writeFileSync(script, TORCH);
  for (const python of [...(process.env.NEXTSCALE_TEST_PYTHON?.split(':') ?? []), 'python3', '/usr/bin/python3'])
    try {
      const env = { ...process.env, LD_PRELOAD: '' };
      execFileSync(python, ['-c', 'import torch'], { stdio: 'pipe', timeout: 60_000, env });
      return execFileSync(python, [script, ...args], { stdio: 'pipe', timeout: 120_000, env }).toString();
    } catch (error) {
      if (/Traceback/.test(String((error as { stderr?: Buffer }).stderr)) && !/No module named/.test(String(error))) throw error;
    }
  return null;
}

test('torch loads the state into its AdamW and steps on as we do', async () => {
  using params = await makeParams(engine);
  using optimizer = new AdamW(params, { betas: [0.9, 0.95] });
  const stepper = new OptimizerStep(optimizer, { scaler: new GradScaler({ initScale: 1 }) });
  await steps(stepper, 1, 3);
  setRates(stepper, 0.01, 0.1);
  setGradients(params, 4);
  const grads = Object.fromEntries(params.names.map((name) => [name, params.grad(name)]));
  const groups = stepper.groups.map(({ names }) => [...names]);
  const path = await save('torch.pth', { weights: params.stateDict(), groups, grads, var_opt: stepper.state() });
  const out = join(folder, 'stepped.pth');
  const said = torchRuns([path, out, '']);
  if (said === null) return;
  assert.match(said, /^ok/);
  await stepper.run();
  const result = await openCheckpoint(out, { root: '' });
  const want = new Map<string, Float32Array>();
  for (const name of params.names) {
    using tensor = result.load(engine, name);
    want.set(name, await valuesOf(tensor));
  }
  assert.ok(distance(await snapshot(params), want) < 2e-6, String(distance(await snapshot(params), want)));
  stepper.dispose();
});

test.run();
