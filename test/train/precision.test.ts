// driver: timeout=600
// Training in f16 and bf16: which tensors are narrow, gradients against f32, loss scaling, and a run that is stopped and resumed.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, Tensor } from '../../ts/engine/index.js';
import { AdamW, GradScaler, OptimizerStep } from '../../ts/optim/index.js';
import type { TrainEvent } from '../../ts/train/events.js';
import { LOOP_DEFAULTS, ModelOptimizer, type Task, train } from '../../ts/train/index.js';
import { visible } from './event-file.js';
import { folder } from './support.js';
import { dispose, infoAt as infoOfVar, iterate, makeStepper, makeTask, tokenBatch } from './var-kit.js';
import { infoAt as infoOfVqvae, pictures, tinyTask, trainer } from './vqvae-kit.js';

const test = suite('mixed precision');
type Narrow = 'f16' | 'bf16';
const NARROW: readonly Narrow[] = ['f16', 'bf16'];
let engine: Engine;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
});
test.after(async () => {
  await engine.flush();
  assert.is(engine.memory().tensors, 0);
  await engine.close();
});

/** Dtypes by `op.input` and `op.output` of the calls while `work` runs. */
async function dtypesOf(work: () => Promise<unknown>): Promise<Map<string, Set<string>>> {
  const seen = new Map<string, Set<string>>();
  const note = (name: string, t: unknown): void => {
    if (t instanceof Tensor) seen.set(name, (seen.get(name) ?? new Set()).add(t.dtype));
  };
  const { sink } = engine;
  const { run } = sink;
  sink.run = (decl, inputs, attrs) => {
    const out = run.call(sink, decl, inputs, attrs);
    for (const [i, { name }] of decl.inputs.entries()) note(`${decl.name}.${name}`, inputs[i]);
    note(`${decl.name}.${decl.outputs[0]?.name}`, out);
    return out;
  };
  try {
    await work();
  } finally {
    sink.run = run;
  }
  return seen;
}

const only = (seen: Map<string, Set<string>>, name: string): string => [...(seen.get(name) ?? [])].sort().join();

test('VAR: layers are narrow; residual stream, modulation, logits, loss, gradients of parameters and optimizer are f32', async () => {
  const task = await makeTask(engine, { precision: 'bf16', dropPathRate: 0.2, checkpointing: false });
  const stepper = makeStepper(task);
  const seen = await dtypesOf(() => iterate(task, stepper, tokenBatch(2), 0));
  for (const name of ['attention.qkv', 'attention.y', 'attention_grad.dqkv', 'layer_norm.y', 'unary_grad.dx', 'gate_residual.x'])
    assert.match(only(seen, name), /bf16/, name);
  for (const name of ['attention.qkv', 'attention_grad.dy', 'layer_norm.y']) assert.is(only(seen, name), 'bf16', name);
  assert.is(only(seen, 'linear.w'), 'bf16');
  for (const name of [
    ...[
      'layer_norm.x',
      'layer_norm.mod',
      'gate_residual.residual',
      'gate_residual.y',
      'cross_entropy.logits',
      'cross_entropy_grad.dLogits',
    ],
    ...[
      'linear_pack.w',
      'linear_grad_w.dw',
      'linear_grad_w.dbias',
      'attention_grad.dScaleMul',
      'layer_norm_grad.dMod',
      'embedding_grad.dy',
    ],
    ...['adamw.param', 'adamw.grad', 'adamw.m', 'grad_stats.g', 'interpolate.x'],
  ])
    assert.is(only(seen, name), 'f32', name);
  dispose(task, stepper);
});

test('VQVAE: encoder and decoder are narrow; features, quantizer, images and losses are f32', async () => {
  const task = await tinyTask(engine, { precision: 'f16', kmeans: false, entropyWeight: 0.1 });
  const seen = await dtypesOf(() => task.step(pictures(1), infoOfVqvae(0)));
  assert.match(only(seen, 'conv2d.y'), /f16/);
  for (const name of ['group_norm.y', 'attention.qkv', 'attention_grad.dqkv', 'group_norm_grad.dx'])
    assert.is(only(seen, name), 'f16', name);
  for (const name of [
    ...['vq_lookup.z', 'vq_lookup.codebook', 'interpolate.x', 'interpolate_grad.dy', 'softmax.x', 'pair_loss.x', 'pair_loss.y'],
    ...['conv_pack.w', 'conv2d_grad_w.dw', 'group_norm_grad.dGamma', 'embedding_grad.dTable'],
  ])
    assert.match(only(seen, name), /^(f32)?$/, name);
  assert.is(only(seen, 'pair_loss.x'), 'f32');
  task.dispose();
});

/** |a - b| / |b|. */
function apart(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i]! - b[i]!) ** 2;
    norm += b[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

// On the way of a gradient through two blocks (VAR) or a dozen convolutions and norms (VQVAE) there are about 50 roundings of independent sign,
// each of a relative u: their root, 7 u, with as much again for what stands between the whole gradient and its parts.
const TOLERANCE = { f16: 14 * 2 ** -11, bf16: 14 * 2 ** -8 };

async function gradientsOf(task: Task<never>, batch: unknown, info: ReturnType<typeof infoOfVar>): Promise<Float32Array> {
  task.params.zeroGrads();
  await task.step(batch as never, info);
  const grads = (await task.params.grads.read()) as Float32Array;
  task.dispose();
  return grads;
}

test('gradients of a step are those of f32 up to the rounding of the dtype', async () => {
  for (const precision of NARROW) {
    const scale = precision === 'f16' ? 1024 : 1;
    const both = async (make: (p: 'f32' | Narrow) => Promise<unknown>, batch: unknown, info: typeof infoOfVar): Promise<number> => {
      const want = await gradientsOf((await make('f32')) as Task<never>, batch, info(0));
      const got = await gradientsOf((await make(precision)) as Task<never>, batch, info(0, { lossScale: scale }));
      assert.is.not(got[0], want[0]);
      return apart(
        got.map((g) => g / scale),
        want,
      );
    };
    const ofVar = await both((p) => makeTask(engine, { precision: p }), tokenBatch(3), infoOfVar);
    assert.ok(ofVar <= TOLERANCE[precision], `VAR ${precision}: ${ofVar.toExponential(1)}`);
    const ofVqvae = await both((p) => tinyTask(engine, { precision: p, kmeans: false, quantizeFrom: 9 }), pictures(2), infoOfVqvae);
    assert.ok(ofVqvae <= TOLERANCE[precision], `VQVAE ${precision}: ${ofVqvae.toExponential(1)}`);
  }
});

test('the loss falls as in f32', async () => {
  const batch = tokenBatch(3);
  const ofVar = async (precision: 'f32' | Narrow): Promise<number[]> => {
    const task = await makeTask(engine, { precision, checkpointing: true });
    const stepper = makeStepper(task, precision === 'f16' ? { scaler: new GradScaler() } : {});
    const losses: number[] = [];
    for (let gIt = 0; gIt < 12; gIt++) losses.push((await iterate(task, stepper, batch, gIt)).loss);
    dispose(task, stepper);
    return losses;
  };
  const wide = await ofVar('f32');
  assert.ok(wide.at(-1)! < 0.7 * wide[0]!, wide.join());
  for (const precision of NARROW) {
    const narrow = await ofVar(precision);
    assert.is.not(narrow.at(-1), wide.at(-1));
    assert.ok(Math.abs(narrow.at(-1)! - wide.at(-1)!) < 0.1 * (wide[0]! - wide.at(-1)!), `${precision}: ${narrow.at(-1)}, ${wide.at(-1)}`);
    const task = await tinyTask(engine, { precision });
    const run = trainer(task);
    const losses = (await run.run([pictures(2)], 0, 8)).map(({ loss }) => loss);
    assert.ok(losses.at(-1)! < losses[0]!, `VQVAE ${precision}: ${losses.join()}`);
    run.optimizer.dispose();
    task.dispose();
  }
});

test('f16 with loss scaling: stopped and resumed equals uninterrupted, bit for bit; the scale is logged', async () => {
  const batches = {
    iters: 4,
    numClasses: 5,
    classes: [],
    skipped: new Map<string, string>(),
    close: async () => {},
    async *epoch(_ep: number, start = 0) {
      for (let it = start; it < 4; it++) yield tokenBatch(3, it);
    },
  };
  const config = { ...LOOP_DEFAULTS, ep: 2, tlr: 3e-3, twd: 0.05, twde: 0.05, tb_it: 1 };
  const go = async (out: string, stop?: number) => {
    const task = await makeTask(engine, { precision: 'f16' });
    // Overflows at first, then grows again: counts of good steps lie across the interruption.
    const scaler = new GradScaler({ initScale: 2 ** 30, backoffFactor: 2 ** -12, maxScale: 2 ** 31, growthInterval: 3 });
    const optimizer = new ModelOptimizer(task.params, new OptimizerStep(new AdamW(task.params), { clip: 1, scaler }));
    const controller = new AbortController();
    const steps: (readonly [number, number | undefined, boolean])[] = [];
    const onEvent = (event: TrainEvent): void => {
      if (event.type !== 'step') return;
      steps.push([event.loss, event.scaleLog2, event.skipped]);
      if (event.gIt + 1 === stop) controller.abort();
    };
    await train({ task: task as never, optimizer, batches, config, out, signal: controller.signal, onEvent });
    const weights = await task.params.values.read();
    optimizer.dispose();
    task.dispose();
    return { steps, weights, scaler: scaler.state() };
  };
  const [whole, broken] = [folder(), folder()];
  const a = await go(whole);
  const first = await go(broken, 3);
  const b = await go(broken);
  assert.equal([...first.steps, ...b.steps], a.steps);
  assert.equal(b.weights, a.weights);
  assert.equal(b.scaler, a.scaler);
  const scales = a.steps.map(([, scale]) => scale);
  assert.ok(a.steps[0]![2], 'nothing overflowed');
  assert.ok(new Set(scales).size > 2, scales.join());
  const file = readdirSync(whole).find((name) => name.startsWith('events.out'))!;
  const logged = visible([new Uint8Array(readFileSync(join(whole, file)))], 'AR_opt_grad/fp16/scale_log2');
  assert.equal(
    logged.map(([, value]) => value),
    scales,
  );
});

test.run();
