// From options to the parts of a run: engine in, task, optimizer and data out.
import { ArgumentError } from '../core/errors.js';
import {
  type Batch,
  type BatchSource,
  findSplits,
  fingerprint,
  ImageLoader,
  openDataset,
  SyntheticSource,
  TokenSource,
} from '../data/index.js';
import type { Engine } from '../engine/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';
import type { Parameters, Precision } from '../nn/index.js';
import { AdamW, EMA, GradScaler, OptimizerStep, SGD } from '../optim/index.js';
import type { Derived, SharedArgs } from './config/shared.js';
import { LOOP_DEFAULTS, type LoopConfig } from './loop-config.js';
import { ModelOptimizer } from './optimizer.js';
import type { Task } from './task.js';
import type { Family } from './weights.js';

/** Everything `train` needs of a model family. */
export interface RunParts<B extends Batch = Batch> {
  readonly family: Family;
  readonly task: Task<B>;
  readonly optimizer: ModelOptimizer;
  readonly batches: BatchSource<B>;
  readonly validation: BatchSource<B> | undefined;
  readonly config: LoopConfig;
  /** Whether steps are recorded as graphs. */
  readonly graph: boolean;
  /** Options that may differ when the run is resumed. */
  readonly mayChange: ReadonlySet<string>;
  /** The VQVAE that encodes every batch, where one does. */
  readonly encoder?: VqvaeConfig;
  /** Of the model, for exported weights. */
  readonly model: Record<string, unknown>;
  /** What is worth saying before training. */
  readonly notes: readonly string[];
  /** Key of the trained state dict in task.state(). */
  readonly stateKey: 'var_wo_ddp' | 'vae_local';
  close(): Promise<void>;
}

export type Args = SharedArgs & Derived;

/** What --fp16 0, 1, 2 stand for. */
export const precisionOf = ({ fp16 }: Pick<SharedArgs, 'fp16'>): Precision => (['f32', 'f16', 'bf16'] as const)[fp16];

/** Whether steps are recorded as graphs: as asked, otherwise where calls cost more than on the CPU. */
export const graphOf = ({ graph }: Pick<SharedArgs, 'graph'>, engine: Engine): boolean =>
  graph === -1 ? engine.device !== 'cpu' : graph === 1;

export function loopConfig(args: Args): LoopConfig {
  const { ep, tlr, twd, twde } = args;
  const names = Object.keys(LOOP_DEFAULTS) as (keyof typeof LOOP_DEFAULTS)[];
  return { ep, tlr, twd, twde, ...Object.fromEntries(names.map((name) => [name, args[name]])) } as LoopConfig;
}

export function makeOptimizer(params: Parameters, args: Args): ModelOptimizer {
  const { opt, beta1, beta2, opt_bits: bits, tclip: clip, ac: accumulation, fp16, ema } = args;
  const optimizer = opt === 'sgd' ? new SGD(params, { momentum: beta1 }) : new AdamW(params, { betas: [beta1, beta2], bits });
  const scaler = fp16 === 1 ? new GradScaler() : undefined;
  const stepper = new OptimizerStep(optimizer, { clip, accumulation, scaler });
  return new ModelOptimizer(params, stepper, ema > 0 ? new EMA(params, ema) : undefined);
}

export interface DataNeeds {
  reso: number;
  /** Synthetic images in the place of data_path. */
  synthetic?: boolean;
  signal?: AbortSignal;
}

export interface Data {
  readonly batches: BatchSource;
  readonly validation: BatchSource | undefined;
  readonly notes: readonly string[];
}

const SYNTHETIC_IMAGES = 32;

/** Opens the images of `data_path`, training and validation part. */
export async function openImages(args: Args, { reso, synthetic, signal }: DataNeeds): Promise<Data> {
  const { batch_size: batchSize, data_path: path, mid_reso: midReso, hflip, cache_mb } = args;
  const seed = args.seed + args.same_seed_for_all_ranks;
  if (synthetic) {
    const common = { reso, seed, images: SYNTHETIC_IMAGES };
    const batches = new SyntheticSource({ ...common, mode: 'train', batchSize: Math.min(batchSize, SYNTHETIC_IMAGES) });
    return { batches, validation: new SyntheticSource({ ...common, mode: 'val', batchSize: 8 }), notes: [] };
  }
  if (path === '') throw new ArgumentError('--data_path: nothing was given, accepted: a folder of images, a list, or shards');
  const resize = { reso, midReso, workers: args.workers || 2, cacheBytes: cache_mb * 2 ** 20 };
  const train = await openDataset(path, { split: 'train', signal });
  let batches: ImageLoader;
  try {
    batches = await ImageLoader.open(train, { ...resize, mode: 'train', batchSize, hflip, seed });
  } catch (error) {
    await train.close();
    throw error;
  }
  const notes = [`data: ${train.length} images of ${train.numClasses} classes (${train.layout}), ${batches.iters} iterations per epoch`];
  const { val } = await findSplits(path);
  if (val === undefined) return { batches, validation: undefined, notes: [...notes, `${path} has no part 'val': nothing is evaluated`] };
  try {
    const set = await openDataset(path, { split: 'val', classes: train.classes, signal });
    const validation = await ImageLoader.open(set, { ...resize, mode: 'val', batchSize: valBatch(args), seed });
    return { batches, validation, notes: [...notes, `validation: ${set.length} images`] };
  } catch (error) {
    await batches.close();
    throw error;
  }
}

const valBatch = (args: Args): number => args.val_bs || Math.max(1, Math.round(args.batch_size * 1.5));

export interface TokenNeeds {
  /** The VQVAE's file, whose fingerprint the cache must carry. */
  vae: string;
  patchNums: readonly number[];
  vocabSize: number;
  reso: number;
}

/** Opens token caches; random crops are then a choice of what the cache holds, which the notes say. */
export async function openTokens(args: Args & { tokens: string; tokens_val: string }, needs: TokenNeeds): Promise<Data> {
  const { vae, ...model } = needs;
  const expect = { ...model, patchNums: [...needs.patchNums], vqvae: await fingerprint(vae) };
  const seed = args.seed + args.same_seed_for_all_ranks;
  const batches = await TokenSource.open(args.tokens, { expect, mode: 'train', batchSize: args.batch_size, seed });
  const notes = [`tokens: ${batches.describe()}`];
  if (args.tokens_val === '') return { batches, validation: undefined, notes: [...notes, 'no --tokens_val: nothing is evaluated'] };
  try {
    const validation = await TokenSource.open(args.tokens_val, { expect, mode: 'val', batchSize: valBatch(args), seed });
    if (validation.numClasses > batches.numClasses)
      throw new ArgumentError(`--tokens_val: ${validation.numClasses} classes, the training tokens have ${batches.numClasses}`);
    return { batches, validation, notes };
  } catch (error) {
    await batches.close();
    throw error;
  }
}

/** Closes parts in turn; the first error counts. */
export async function closeAll(parts: readonly (() => unknown)[]): Promise<void> {
  let failed: { error: unknown } | undefined;
  for (const close of parts) {
    try {
      await close();
    } catch (error) {
      failed ??= { error };
    }
  }
  if (failed) throw failed.error;
}
