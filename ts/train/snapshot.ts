// The contents of a checkpoint: the reference's layout (epoch, iter, trainer, args), and what it has no place for below `nextscale`.
import { ArgumentError } from '../core/errors.js';
import type { Batch } from '../data/index.js';
import type { LogMarks, LoopState } from './loop-state.js';
import type { TrainOptions } from './options.js';
import { checkCompatible, FORMAT, type FoundCheckpoint } from './resume.js';
import type { StateValue } from './task.js';

/** As a checkpoint gives it back: absent fields are absent, nothing but plain values. */
function plainArgs(args: Record<string, unknown> = {}): Record<string, unknown> {
  return JSON.parse(JSON.stringify(args)) as Record<string, unknown>;
}

const optimizerKey = (family: string): string => (family === 'var' ? 'var_opt' : 'vae_opt');

/** Everything a run needs to go on, with live tensors: they are read before the next iteration. */
export async function assemble<B extends Batch>(
  { task, optimizer, batches, config, args, model }: TrainOptions<B>,
  state: LoopState,
  marks: LogMarks,
): Promise<Record<string, StateValue>> {
  const saved = optimizer.state(state.gIt % config.ac !== 0);
  return {
    epoch: state.ep,
    iter: state.it,
    trainer: { ...(await task.state()), [optimizerKey(task.family)]: saved.optimizer },
    args: plainArgs(args),
    nextscale: {
      format: FORMAT,
      family: task.family,
      config: plainArgs(model),
      g_it: state.gIt,
      loop: state.save(marks),
      data: { iters: batches.iters, num_classes: batches.numClasses, classes: [...batches.classes] },
      more: saved.more,
    },
  };
}

/** Restores everything from a checkpoint after checking that it belongs here; returns where the logs stood. */
export async function takeBack<B extends Batch>(
  { task, optimizer, args, mayChange = new Set(), batches }: TrainOptions<B>,
  state: LoopState,
  { path, state: saved }: Pick<FoundCheckpoint, 'path' | 'state'>,
): Promise<LogMarks> {
  const own = saved.nextscale as {
    family: string;
    loop: Record<string, unknown>;
    data: { iters: number; num_classes: number; classes: string[] };
    more: StateValue;
  };
  if (own.family !== task.family) throw new ArgumentError(`${path} belongs to a run of ${own.family}, this one is of ${task.family}`);
  checkCompatible(path, saved.args as Record<string, unknown>, plainArgs(args), mayChange);
  if (own.data.iters !== batches.iters || own.data.num_classes !== batches.numClasses)
    throw new ArgumentError(
      `${path} belongs to other data: ${own.data.iters} iterations per epoch and ${own.data.num_classes} classes then, ` +
        `${batches.iters} and ${batches.numClasses} now`,
    );
  const other = own.data.classes.findIndex((name, i) => name !== batches.classes[i]);
  if (other >= 0)
    throw new ArgumentError(
      `${path} belongs to other data: class ${other} was ${JSON.stringify(own.data.classes[other])}, it is ${JSON.stringify(batches.classes[other])} now`,
    );
  const trainer = saved.trainer as Record<string, StateValue>;
  await task.checkFrozen?.(trainer);
  await task.restore(trainer);
  await optimizer.restore({ optimizer: trainer[optimizerKey(task.family)], more: own.more });
  return state.restore(own.loop);
}
