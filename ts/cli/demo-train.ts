// The last part of the demo: training goes on from the bundled weights for a few steps.
import { throwIfAborted } from '../core/check.js';
import type { TokenBatch } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import { AdamW, annealGroups, lrWdAt, OptimizerStep } from '../optim/index.js';
import { ModelOptimizer, type StepInfo } from '../train/index.js';
import { VarTask } from '../train/var/index.js';
import type { DemoModel, Photo } from './demo-model.js';

export interface ContinueOptions {
  readonly steps: number;
  readonly seed: number;
  readonly signal: AbortSignal;
  readonly onStep: (loss: number) => void;
}

/** Loss (nats per token) and accuracy (percent) over all tokens of the photos. */
export interface Fit {
  readonly loss: number;
  readonly accuracy: number;
}

export interface Continued {
  readonly steps: number;
  readonly photos: number;
  readonly batch: number;
  readonly before: Fit;
  readonly after: Fit;
  /** Of every step, on the photos of that step. */
  readonly losses: readonly number[];
}

const LEARNING_RATE = 1e-3;
const WEIGHT_DECAY = 0.05;
const WARM_UP = 2;
const CLIP = 2;
/** Photos per step. */
const BATCH = 10;

/** Trains the VAR on the photos in f32; what was loaded for generating stays as it is. Throws AbortError. */
export async function continueTraining(
  engine: Engine,
  model: DemoModel,
  photos: readonly Photo[],
  options: ContinueOptions,
): Promise<Continued> {
  const { steps, seed, signal } = options;
  const task = await VarTask.create(
    engine,
    { config: model.vqvae.config, weights: model.vaeFile.weights },
    { config: model.transformer.model.config, seed, dropPathRate: 0 },
    model.varFile.weights,
  );
  const optimizer = new ModelOptimizer(task.params, new OptimizerStep(new AdamW(task.params, { betas: [0.9, 0.95] }), { clip: CLIP }));
  try {
    const all = await tokens(task, photos);
    const before = await fit(task, all, signal);
    const losses: number[] = [];
    for (let i = 0; i < steps; i++) {
      throwIfAborted(signal);
      losses.push(await step(task, optimizer, turn(all, i), i, options));
      options.onStep(losses[i]!);
    }
    const after = await fit(task, all, signal);
    return { steps, photos: photos.length, batch: Math.min(BATCH, photos.length), before, after, losses };
  } finally {
    optimizer.dispose();
    task.dispose();
  }
}

async function step(task: VarTask, optimizer: ModelOptimizer, batch: TokenBatch, i: number, options: ContinueOptions): Promise<number> {
  const { steps, signal } = options;
  const decay = { wd: WEIGHT_DECAY, wdEnd: WEIGHT_DECAY };
  annealGroups(optimizer.groups, lrWdAt({ sche: 'lin0', peakLr: LEARNING_RATE, ...decay, wpIt: WARM_UP, maxIt: steps }, i));
  optimizer.zeroGrads();
  const place = { ep: 0, it: i, gIt: i, itersPerEp: steps, maxIt: steps, stepping: true };
  const info: StepInfo = { ...place, lossScale: optimizer.lossScale, log: false, detailed: false, signal };
  const { loss } = await task.step(batch, info);
  await optimizer.step(!Number.isFinite(loss));
  return loss;
}

async function tokens(task: VarTask, photos: readonly Photo[]): Promise<TokenBatch> {
  const { width: reso, data } = photos[0]!.image;
  const pixels = new Uint8Array(photos.length * data.length);
  for (const [i, photo] of photos.entries()) pixels.set(photo.image.data, i * data.length);
  const labels = Int32Array.from(photos, (photo) => photo.label);
  const indices = Int32Array.from(photos.keys());
  return { kind: 'tokens', tokens: await task.tokenize({ kind: 'images', pixels, reso, labels, indices }), labels, indices };
}

/** The photos of one step: BATCH of them in turn. */
function turn({ tokens: all, labels }: TokenBatch, i: number): TokenBatch {
  const count = labels.length;
  const length = all.length / count;
  const indices = Int32Array.from({ length: Math.min(BATCH, count) }, (_, b) => (i * BATCH + b) % count);
  const rows = new Int32Array(indices.length * length);
  for (const [b, at] of indices.entries()) rows.set(all.subarray(at * length, (at + 1) * length), b * length);
  return { kind: 'tokens', tokens: rows, labels: indices.map((at) => labels[at]!), indices };
}

async function fit(task: VarTask, batch: TokenBatch, signal: AbortSignal): Promise<Fit> {
  async function* once(): AsyncGenerator<TokenBatch> {
    yield batch;
  }
  const metrics = await task.evaluate(once(), signal);
  return { loss: metrics.vL_mean!, accuracy: metrics.vacc_mean! };
}
