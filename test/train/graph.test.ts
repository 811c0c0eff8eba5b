// driver: timeout=600
// Steps recorded as graphs against plain ones: the same bits over schedules, stages, odd batches, skipped steps, and across a resume.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Batch, BatchSource } from '../../ts/data/index.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { AdamW, EMA, GradScaler, OptimizerStep, SGD } from '../../ts/optim/index.js';
import type { TrainEvent } from '../../ts/train/events.js';
import { LOOP_DEFAULTS, type LoopConfig, ModelOptimizer, type Task, train } from '../../ts/train/index.js';
import type { VarTask } from '../../ts/train/var/index.js';
import type { VqvaeTask } from '../../ts/train/vqvae/index.js';
import { folder } from './support.js';
import { imageBatch, makeTask, tokenBatch } from './var-kit.js';
import { pictures, tinyTask } from './vqvae-kit.js';

const test = suite('recorded steps');
let engine: Engine;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
});
test.after(async () => {
  await engine.flush();
  assert.is(engine.memory().tensors, 0);
  await engine.close();
});

const CONFIG: LoopConfig = { ...LOOP_DEFAULTS, ep: 2, tlr: 3e-3, twd: 0.05, twde: 0.2, wp: 0.5, val_ep: 10, log_it: 2, tb_it: 3 };

/** The batches of every epoch, in order. */
const fixed = <B extends Batch>(batches: readonly B[]): BatchSource<B> => ({
  iters: batches.length,
  numClasses: 5,
  classes: [],
  skipped: new Map(),
  close: async () => {},
  async *epoch(_ep: number, start = 0) {
    yield* batches.slice(start);
  },
});

interface Setup<B extends Batch> {
  readonly make: () => Promise<Task<B>>;
  readonly batches: readonly B[];
  readonly config?: Partial<LoopConfig>;
  readonly optimizer?: (task: Task<B>) => ModelOptimizer;
}

interface Outcome {
  readonly steps: readonly unknown[];
  readonly warnings: readonly string[];
  readonly weights: readonly Uint8Array[];
  readonly captures: number;
}

const adam = (task: Pick<Task, 'params'>, more: { bits?: 8 | 32; scaler?: GradScaler; ema?: boolean } = {}): ModelOptimizer => {
  const { bits = 32, scaler, ema } = more;
  const optimizer = new AdamW(task.params, { betas: [0.9, 0.95], bits });
  return new ModelOptimizer(task.params, new OptimizerStep(optimizer, { clip: 1, scaler }), ema ? new EMA(task.params, 0.9) : undefined);
};

/** Trains to the end, or stops after `stop` iterations; what it did as plain values. */
async function run<B extends Batch>(out: string, graph: boolean, setup: Setup<B>, stop?: number): Promise<Outcome> {
  const task = await setup.make();
  const optimizer = setup.optimizer?.(task) ?? adam(task);
  const events: TrainEvent[] = [];
  const controller = new AbortController();
  const { capture } = engine;
  let captures = 0;
  engine.capture = <R>(fn: () => R) => {
    captures++;
    return capture.call(engine, fn) as ReturnType<typeof engine.capture<R>>;
  };
  try {
    const onEvent = (event: TrainEvent): void => {
      events.push(event);
      if (event.type === 'step' && event.gIt + 1 === stop) controller.abort();
    };
    const config = { ...CONFIG, ...setup.config };
    await train({ task, optimizer, batches: fixed(setup.batches), config, out, graph, onEvent, signal: controller.signal });
    const steps = events.flatMap((event) => {
      if (event.type !== 'step') return [];
      const { seconds: _s, dataSeconds: _d, ...rest } = event;
      return [rest];
    });
    const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    const buckets = [...task.params.buckets, ...(optimizer.ema?.average.buckets ?? [])];
    const weights = await Promise.all(buckets.map(async ({ values }) => new Uint8Array((await values.read()).buffer)));
    return { steps, warnings, weights, captures };
  } finally {
    engine.capture = capture;
    optimizer.dispose();
    task.dispose();
  }
}

/** Plain and recorded agree; returns the recorded outcome. */
async function same<B extends Batch>(setup: Setup<B>): Promise<Outcome> {
  const plain = await run(folder(), false, setup);
  const recorded = await run(folder(), true, setup);
  assert.is(plain.captures, 0);
  assert.ok(recorded.captures > 0, recorded.warnings.join());
  assert.equal(recorded.steps, plain.steps);
  assert.equal(recorded.weights, plain.weights);
  return recorded;
}

type Tokens = ReturnType<typeof tokenBatch>;
const varTask =
  (more: Parameters<typeof makeTask>[1] = {}) =>
  async () =>
    (await makeTask(engine, more)) as unknown as Task<Tokens>;
const tokens = [tokenBatch(4, 1), tokenBatch(4, 2), tokenBatch(4, 3), tokenBatch(2, 4)];

test('VAR: schedules, a smaller last batch, dropped labels and branches, an average', async () => {
  const make = varTask({ labelSmooth: 0.1, dropPathRate: 0.3 });
  const { captures } = await same({ make, batches: tokens, optimizer: (task) => adam(task, { ema: true }) });
  // One per size of the batch.
  assert.is(captures, 2);
});

test('VAR: progressive stages, checkpointing, 8-bit moments', async () => {
  const make = varTask({ progressive: { pg: 0.9, pg0: 0, pgwp: 0.3 }, checkpointing: true });
  const { captures } = await same({
    make,
    batches: tokens.slice(0, 3),
    config: { ep: 3 },
    optimizer: (task) => adam(task, { bits: 8 }),
  });
  assert.ok(captures > 2, String(captures));
});

test('VAR: images that the VQVAE encodes, SGD', async () => {
  const optimizer = (task: Task<ReturnType<typeof imageBatch>>) =>
    new ModelOptimizer(task.params, new OptimizerStep(new SGD(task.params, { momentum: 0.9, nesterov: true }), { clip: 1 }));
  const make = async () => (await makeTask(engine)) as unknown as Task<ReturnType<typeof imageBatch>>;
  await same({ make, batches: [imageBatch(2, 1), imageBatch(2, 2)], optimizer });
});

/** Overwrites a weight before iteration `at`, and puts it back after it: its step is skipped. */
function broken(task: VarTask, at: number): Task<Tokens> {
  const { params } = task;
  const program = task.program.bind(task);
  task.program = (batch, info) => {
    const name = params.names.find((n) => n.endsWith('head.bias')) ?? params.names[0]!;
    const value = info.gIt === at ? Number.NaN : info.gIt === at + 1 ? 0.01 : undefined;
    if (value !== undefined) params.get(name).write(new Float32Array(params.get(name).size).fill(value));
    return program(batch, info);
  };
  return task as unknown as Task<Tokens>;
}

test('steps that are not finite change nothing, with and without a scaler', async () => {
  for (const scaled of [false, true]) {
    const make = async () => broken(await makeTask(engine), 2);
    const setup: Setup<Tokens> = {
      make,
      batches: tokens.slice(0, 3),
      optimizer: (task) => adam(task, { scaler: scaled ? new GradScaler({ growthInterval: 2 }) : undefined }),
    };
    const { steps, warnings } = await same(setup);
    assert.equal(
      (steps as { skipped: boolean }[]).map(({ skipped }) => skipped),
      [false, false, true, false, false, false],
    );
    assert.match(warnings.join(), /step skipped in epoch 0, iteration 2: loss is NaN/);
    const scales = (steps as { scaleLog2?: number }[]).map(({ scaleLog2 }) => scaleLog2);
    // 2^11 grows after two good steps; the bad one halves it.
    if (scaled) assert.equal(scales, [11, 11, 12, 11, 11, 12]);
  }
});

test('a scale that f16 cannot hold: gradients overflow, the step is skipped, the scale falls', async () => {
  const make = varTask({ precision: 'f16' });
  const { steps } = await same({
    make,
    batches: tokens.slice(0, 3),
    optimizer: (task) => adam(task, { scaler: new GradScaler({ initScale: 2 ** 30, maxScale: 2 ** 31, backoffFactor: 2 ** -8 }) }),
  });
  const seen = (steps as { skipped: boolean; scaleLog2: number }[]).map(({ skipped, scaleLog2 }) => [skipped, scaleLog2]);
  assert.equal(seen[0], [true, 30]);
  assert.is(seen.at(-1)![0], false, JSON.stringify(seen));
});

const vqvae =
  (more: Parameters<typeof tinyTask>[1] = {}) =>
  async () => {
    const task = await tinyTask(engine, more);
    return task as unknown as Task<ReturnType<typeof pictures>>;
  };

test('VQVAE: restarts of codes, entropy, unquantised start, a smaller last batch', async () => {
  const setup: Setup<ReturnType<typeof pictures>> = {
    make: vqvae({ restart: { after: 2 }, entropyWeight: 0.1, quantizeFrom: 1 }),
    batches: [pictures(2, 1), pictures(2, 2), pictures(1, 3)],
    optimizer: (task) => {
      const optimizer = adam(task);
      (task as unknown as VqvaeTask).onCodesReplaced = (name, rows) => optimizer.clearRows(name, rows);
      return optimizer;
    },
  };
  const { captures } = await same(setup);
  assert.is(captures, 3);
});

test('stopped and resumed equals uninterrupted, recorded or not', async () => {
  const setup: Setup<Tokens> = { make: varTask({ precision: 'bf16' }), batches: tokens };
  const whole = await run(folder(), true, setup);
  for (const [before, after] of [
    [true, true],
    [true, false],
    [false, true],
  ] as const) {
    const out = folder();
    const first = await run(out, before, setup, 3);
    const second = await run(out, after, setup);
    assert.equal([...first.steps, ...second.steps], whole.steps);
    assert.equal(second.weights, whole.weights);
  }
});

test('what cannot be recorded is done by plain calls, and the log says why', async () => {
  const make = varTask();
  const plain = await run(folder(), false, { make, batches: tokens });
  const refusing = async () => {
    const task = await makeTask(engine);
    const program = task.program.bind(task);
    task.program = (batch, info) => {
      const made = program(batch, info);
      return {
        ...made,
        calls: (inputs, scale) => {
          made.calls(inputs, scale);
          inputs.labels!.write(new Int32Array(inputs.labels!.size));
          throw new Error('not reached');
        },
      };
    };
    return task as unknown as Task<Tokens>;
  };
  const fallen = await run(folder(), true, { make: refusing, batches: tokens });
  assert.equal([fallen.steps, fallen.weights], [plain.steps, plain.weights]);
  assert.equal(fallen.warnings, ['steps are not recorded as graphs: write: not inside the function of a capture']);
  const added = await run(folder(), true, { make, batches: tokens, config: { ac: 2 } });
  assert.is(added.captures, 0);
  assert.match(added.warnings[0]!, /each adds up the gradients of 2 iterations/);
});

test.run();
