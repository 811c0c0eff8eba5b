// The evaluation at the end of an epoch.
import { AbortError } from '../core/errors.js';
import type { Batch } from '../data/index.js';
import type { LoopState } from './loop-state.js';
import type { TrainOptions } from './options.js';
import type { Reporter } from './reporter.js';
import type { Metrics } from './task.js';

/** Evaluates and notes the values. True: the best so far; undefined: interrupted. */
export async function evaluate<B extends Batch>(
  { task, validation, signal }: TrainOptions<B>,
  state: LoopState,
  reporter: Reporter,
): Promise<boolean | undefined> {
  const since = performance.now();
  let count = 0;
  const counted = async function* (batches: AsyncIterable<B>): AsyncGenerator<B> {
    for await (const batch of batches) {
      count += batch.labels.length;
      yield batch;
    }
  };
  let metrics: Metrics;
  try {
    metrics = await task.evaluate(counted(validation!.epoch(0, 0, signal)), signal);
  } catch (error) {
    if (signal?.aborted && (error instanceof AbortError || (error as Error).name === 'AbortError')) return undefined;
    throw error;
  }
  const value = metrics[task.best.metric];
  const better =
    value !== undefined && Number.isFinite(value) && (state.best === null || (task.best.smaller ? value < state.best : value > state.best));
  if (better) state.best = value;
  state.evaluation = metrics;
  reporter.evaluation(metrics, count, (performance.now() - since) / 1000, better);
  return better;
}
