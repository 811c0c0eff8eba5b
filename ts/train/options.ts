import type { Batch, BatchSource } from '../data/index.js';
import type { TrainEvent } from './events.js';
import type { LoopConfig } from './loop-config.js';
import type { LoopOptimizer } from './optimizer.js';
import type { Metrics, Task } from './task.js';

export interface TrainOptions<B extends Batch = Batch> {
  task: Task<B>;
  optimizer: LoopOptimizer;
  batches: BatchSource<B>;
  /** Its first epoch is evaluated every `val_ep` epochs. Without it `best` is never written. */
  validation?: BatchSource<B>;
  config: LoopConfig;
  /** The whole configuration, for config.json, the checkpoints, and the check when a run is resumed. Plain values. */
  args?: Record<string, unknown>;
  /** Configuration of the model, kept in the checkpoints. */
  model?: Record<string, unknown>;
  /** Names in `args` that may differ when a run is resumed. */
  mayChange?: ReadonlySet<string>;
  /** Folder of the run; made where it is missing. */
  out: string;
  /** 'auto' (default): goes on where `out` holds a run. 'never': refuses such a folder. A path: goes on from that checkpoint. */
  resume?: 'auto' | 'never' | (string & {});
  /** A checkpoint before the first iteration (default true), so that there is always one to go back to. */
  saveStart?: boolean;
  /**
   * Every step (gradients cleared, forward, backward, optimizer) is recorded once per shape of the batch and then replayed: the same bits,
   * without the time that single calls take, for the memory of up to three steps. Default false. Where that cannot be, a warning says why.
   */
  graph?: boolean;
  /** When it fires, the iteration under way is finished and a checkpoint written; the promise resolves with status 'stopped'. */
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent) => void;
  /** For the head of log.txt. */
  head?: Record<string, unknown>;
  /** Seconds, for tests. */
  clock?: () => number;
}

export interface TrainResult {
  status: 'finished' | 'stopped';
  out: string;
  ep: number;
  gIt: number;
  /** Of the last iteration. */
  loss: number;
  /** Best means over an epoch, the last evaluation, and its best value of the task's metric. */
  bestMeans: Metrics;
  evaluation: Metrics;
  best: number | null;
  skipped: number;
  rewinds: number;
  seconds: number;
  /** The checkpoint that stands for the end, where one was written. */
  checkpoint: string | null;
}
