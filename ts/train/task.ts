import type { ImageBatch, TokenBatch } from '../data/index.js';
import type { Parameters } from '../nn/index.js';
import type { StepProgram } from './step-program.js';

/** Where a run stands; every random choice of a task is keyed by (seed, gIt, a stream of its own). */
export interface StepInfo {
  readonly ep: number;
  /** Iteration within the epoch, and over the whole run. */
  readonly it: number;
  readonly gIt: number;
  readonly itersPerEp: number;
  readonly maxIt: number;
  /** Whether the optimizer steps after this iteration (the last of an accumulation). */
  readonly stepping: boolean;
  /** Gradients are of loss * lossScale (1 / accumulation times the scale of the GradScaler). */
  readonly lossScale: number;
  /** The metrics of this iteration are read: cheap ones every time, `detailed` ones (histograms, per scale) rarely. */
  readonly log: boolean;
  readonly detailed: boolean;
  readonly signal?: AbortSignal;
}

/** Names as the reference logs them (Lm, Lt, Accm, Acct ...); -1: not defined in this iteration. */
export type Metrics = Record<string, number>;

export interface StepResult {
  /** Before lossScale. NaN or infinite: the iteration is skipped. */
  readonly loss: number;
  /** For the progress line and the log; empty unless `log`. */
  readonly metrics: Metrics;
  /** TensorBoard scalars by tag (`AR_iter_loss/Lm`); empty unless `detailed`. */
  readonly scalars?: Metrics;
  readonly histograms?: Record<string, Float32Array>;
}

/**
 * Plain values, typed arrays, tensors of the engine, and objects, Maps, arrays and PyTuples of them, as they go into a checkpoint.
 * Read back, dicts are plain objects, lists and tuples arrays, tensors and typed arrays SavedTensor (saved.ts: `await t.read()` on the
 * host, `t.load(engine)`, `savedWeights(path, dict)` as a WeightSource).
 */
export type StateValue = unknown;

/** An image for the log: RGB bytes. */
export interface TaskImage {
  readonly tag: string;
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/**
 * What a model family contributes to the training loop. A task never touches files, optimizers or schedules: it turns a batch into
 * gradients. Losses that come later (perceptual, adversarial) are further terms inside `step`.
 */
export interface Task<B extends ImageBatch | TokenBatch = ImageBatch | TokenBatch> {
  readonly family: 'vqvae' | 'var';
  /** Tag prefix of the reference: AR, VAE. */
  readonly head: string;
  /** What is trained; `step` adds to its gradients. */
  readonly params: Parameters;
  /** Parameter names without weight decay, as filter_params of the reference chooses them. */
  readonly noDecay: (name: string, shape: readonly number[]) => boolean;
  /** Once, before the first iteration of a fresh run (k-means start of the codebook ...). */
  prepare?(batches: AsyncIterable<B>, signal?: AbortSignal): Promise<void>;
  /** Forward and backward of one micro-batch; resolves when loss and metrics are known. */
  step(batch: B, info: StepInfo): Promise<StepResult>;
  /** The same step, not yet taken, for recording: called in place of `step`, once per iteration. */
  program?(batch: B, info: StepInfo): StepProgram;
  /** After the optimizer has stepped (usage counters, dead codes). `skipped`: the step was not taken. Returns what is worth a warning. */
  afterStep?(info: StepInfo, skipped: boolean): Promise<readonly string[]>;
  /** Metrics over a validation set (vL_mean, vL_tail, vacc_mean, vacc_tail; rec, psnr, ...). */
  evaluate(batches: AsyncIterable<B>, signal?: AbortSignal): Promise<Metrics>;
  /** The metric that `best` follows, and whether smaller is better. */
  readonly best: { readonly metric: string; readonly smaller: boolean };
  /** Once per epoch: metrics over the epoch (perplexity, usage per scale), warnings; then counts from zero. */
  endEpoch?(): { metrics: Metrics; warnings: readonly string[] };
  /** Pictures of the present state for the log. */
  images?(signal?: AbortSignal): Promise<TaskImage[]>;
  /**
   * State dicts and counters under the names of the reference's trainer.state_dict() (config, var_wo_ddp, vae_local ...), without the
   * optimizer. Tensors are live: the caller reads them before the next step.
   */
  state(): Promise<Record<string, StateValue>>;
  /** Before `restore`, where a run goes on: throws ArgumentError if what is not trained is other than in the saved state. */
  checkFrozen?(state: Record<string, StateValue>): Promise<void>;
  /** Takes back what `state` gave, read from a file (StateValue says in which form); the file is closed when the promise settles. */
  restore(state: Record<string, StateValue>): Promise<void>;
  dispose(): void;
}
