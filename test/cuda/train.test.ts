// driver: timeout=600
// Training steps on the device 'cuda', a GPU or the emulated plug-in, against the CPU; in 16 bits and as recorded graphs.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { AdamW, GradScaler, OptimizerStep } from '../../ts/optim/index.js';
import type { TrainEvent } from '../../ts/train/events.js';
import { LOOP_DEFAULTS, ModelOptimizer, type Task, train } from '../../ts/train/index.js';
import { folder } from '../train/support.js';
import { makeTask, tokenBatch } from '../train/var-kit.js';
import { pictures, tinyTask } from '../train/vqvae-kit.js';
import { cudaDevice } from './support.js';

const test = suite('training on cuda');
const device = await cudaDevice();
type Precision = 'f32' | 'f16' | 'bf16';
let [cpu, cuda]: (Engine | undefined)[] = [];

test.before(async () => {
  cpu = await createEngine({ threads: 2 });
  if (device.there) cuda = await createEngine({ device: 'cuda' });
});
test.after(async () => {
  for (const engine of [cpu, cuda]) await engine?.close();
});

const onDevice = (name: string, run: () => Promise<void>): void => {
  if (device.there) test(name, run);
};
if (!device.there) test.skip(`no device: ${device.reason}`, () => {});

interface Model {
  readonly make: (engine: Engine, precision: Precision) => Promise<Task<never>>;
  readonly batch: unknown;
}

const VAR: Model = {
  make: async (engine, precision) => (await makeTask(engine, { precision, dropPathRate: 0.2 })) as unknown as Task<never>,
  batch: tokenBatch(2),
};
const TINY = { ch: 16, normGroups: 4, chMult: [1, 1], patchNums: [1, 2, 4], vocabSize: 16, zChannels: 4 };
const VQVAE: Model = {
  make: async (engine, precision) =>
    (await tinyTask(engine, { precision, kmeans: false, restart: false, config: TINY })) as unknown as Task<never>,
  batch: pictures(1, 1, 8),
};

/** Trains on one batch; losses, gradient norms, and the weights at the end. */
async function run(engine: Engine, { make, batch }: Model, steps: number, precision: Precision = 'f32', graph = false) {
  const task = await make(engine, precision);
  const scaler = precision === 'f16' ? new GradScaler() : undefined;
  const optimizer = new ModelOptimizer(task.params, new OptimizerStep(new AdamW(task.params), { clip: 1, scaler }));
  const batches = {
    iters: steps,
    numClasses: 5,
    classes: [],
    skipped: new Map<string, string>(),
    close: async () => {},
    async *epoch() {
      for (let it = 0; it < steps; it++) yield batch as never;
    },
  };
  const events: TrainEvent[] = [];
  const config = { ...LOOP_DEFAULTS, ep: 1, tlr: 2e-3, twd: 0.05, twde: 0.05 };
  try {
    const onEvent = (event: TrainEvent): unknown => events.push(event);
    await train({ task, optimizer, batches, config, out: folder(), saveStart: false, graph, onEvent });
    const seen = events.flatMap((event) => (event.type === 'step' ? [[event.loss, event.gradNorm ?? -1] as const] : []));
    const warnings = events.flatMap((event) => (event.type === 'warning' ? [event.message] : []));
    return { losses: seen.map(([loss]) => loss), norms: seen.map(([, norm]) => norm), warnings, weights: await task.params.values.read() };
  } finally {
    optimizer.dispose();
    task.dispose();
  }
}

// One step: a loss and a norm are sums over a few thousand f32 products whose orders differ. The second loss shows the weights that the
// first step made: Adam divides by |g|, so that gradients near zero may take another sign, by 2 lr at most.
const TOLERANCE = 1e-4;

for (const [name, model] of [
  ['VAR', VAR],
  ['VQVAE', VQVAE],
] as const) {
  onDevice(`${name}: f32 steps are those of the CPU`, async () => {
    const [want, got] = [await run(cpu!, model, 2), await run(cuda!, model, 2)];
    for (const [what, w, g] of [
      ['loss', want.losses[0]!, got.losses[0]!],
      ['norm', want.norms[0]!, got.norms[0]!],
      ['next loss', want.losses[1]!, got.losses[1]!],
    ] as const)
      assert.ok(Math.abs(g - w) <= TOLERANCE * Math.abs(w), `${what}: ${g}, on the CPU ${w}`);
    assert.not.equal(got.losses[1], got.losses[0]);
  });

  for (const precision of ['bf16', 'f16'] as const)
    onDevice(`${name}: the loss falls in ${precision}`, async () => {
      const { losses, norms } = await run(cuda!, model, 4, precision);
      assert.ok(norms.every((norm) => norm > 0 && Number.isFinite(norm)));
      assert.ok(losses.at(-1)! < losses[0]!, losses.join());
    });

  onDevice(`${name}: recorded steps have the bits of plain ones`, async () => {
    const precision = name === 'VAR' ? 'bf16' : 'f32';
    const [plain, recorded] = [await run(cuda!, model, 3, precision), await run(cuda!, model, 3, precision, true)];
    assert.equal(recorded.warnings, []);
    assert.equal(recorded, plain);
  });
}

test.run();
