import type { Tensor } from '../engine/index.js';
import type { Parameters, ParamRange } from '../nn/index.js';
import { filterParams, type ParamGroup } from './filter-params.js';
import { entry, float, groupsOf, mismatch, scalar } from './state.js';

/** What one range of parameters gets in a step. */
export interface RangeStep {
  readonly range: ParamRange;
  readonly lr: number;
  readonly weightDecay: number;
  /** [4] f32: lr, weight decay, step and inverse scale, which are read from it instead. */
  readonly dynamic?: Tensor;
}

export interface StepCall {
  readonly groups: readonly RangeStep[];
  /** Gradients are multiplied by it first; default 1. */
  readonly invScale?: number;
  /** Bound of the global norm, 0: none. */
  readonly maxNorm?: number;
  /** Sum of squares and number of non-finite elements of all gradients, [2] f32; counted here where it is not given. */
  readonly stats?: Tensor;
}

/** Norms of gradients on the engine. */
export interface GradStats {
  /** Per bucket: [parameters, 2] f32, sum of squares and number of non-finite elements. */
  readonly buckets: readonly Tensor[];
  /** The same of all parameters, [2] f32. */
  readonly total: Tensor;
}

/** Enqueues the norms of all gradients; the sums run over parameters in the order of memory. The caller disposes the tensors. */
export function gradStats(params: Parameters): GradStats {
  const { engine } = params;
  const { ops } = engine;
  return engine.scope(() => {
    const buckets = params.buckets.map(({ grads, offsets }) => ops.gradStats(grads!, offsets));
    const all = buckets.reduce((a, b) => ops.concat(a, b, { axis: 0 }));
    return { buckets, total: ops.reduce(all, { fn: 'sum', axis: 0 }) };
  });
}

/** Options of a group as torch writes them beside the indices of its parameters. */
export type TorchOptions = Readonly<Record<string, unknown>>;

/**
 * An optimizer over the flat ranges of its parameters. A step is enqueued and changes nothing where a gradient is not finite; whoever reads
 * the stats and finds that takes the step back from the count by `revoke`.
 */
export abstract class Optimizer {
  private taken = 0;

  constructor(readonly params: Parameters) {}

  /** Steps taken so far. */
  get steps(): number {
    return this.taken;
  }

  /** Enqueues one step of the given ranges; returns the stats [2], which the caller disposes unless they were its own. */
  step(call: StepCall): Tensor {
    this.taken++;
    const { engine } = this.params;
    return engine.scope(() => {
      const stats = call.stats ?? gradStats(this.params).total;
      const { invScale = 1, maxNorm = 0 } = call;
      for (const group of call.groups) this.update(group, { stats, invScale, maxNorm });
      return stats;
    });
  }

  /** A recorded step was enqueued again. */
  repeated(): void {
    this.taken++;
  }

  /** The last step found gradients that are not finite and was not taken. */
  revoke(): void {
    this.taken--;
  }

  /**
   * As torch's optimizer.state_dict(): `state` by index through the lists of the groups, `param_groups` with the options. Tensors are live.
   */
  state(groups: readonly ParamGroup[] = filterParams(this.params)): Record<string, unknown> {
    let next = 0;
    const param_groups = groups.map(({ names, wdSc, lrSc, lr, weightDecay }) => ({
      wd_sc: float(wdSc),
      lr_sc: float(lrSc),
      lr: float(lr),
      ...this.torchOptions(weightDecay),
      params: names.map(() => next++),
    }));
    const order = groups.flatMap(({ names }) => names);
    const state = this.taken === 0 ? [] : order.map((name, i) => [i, this.entryOf(name)] as const);
    return { state: new Map(state.filter(([, item]) => item !== null)), param_groups };
  }

  /** Takes back what state() or torch wrote. Throws ArgumentError where it belongs to other parameters. */
  async restore(saved: unknown, groups: readonly ParamGroup[] = filterParams(this.params)): Promise<void> {
    const order = groups.flatMap(({ names }) => names);
    const lists = groupsOf(saved).map((group) => [...((entry(group, 'params') ?? []) as Iterable<unknown>)].length);
    const wanted = groups.map(({ names }) => names.length);
    if (lists.join() !== wanted.join())
      throw mismatch(`it has groups of ${lists.join(' and ')} parameters, the model has groups of ${wanted.join(' and ')}`);
    this.taken = await this.restoreEntries(order, (i) => entry(entry(saved, 'state'), i), saved);
  }

  /** Forgets what was gathered about these rows (first dim) of a parameter; they go on as if they were new. Enqueued. */
  abstract resetRows(name: string, rows: Int32Array): void;

  /** Frees the moments. */
  abstract dispose(): void;

  [Symbol.dispose](): void {
    this.dispose();
  }

  protected abstract update(group: RangeStep, call: { stats: Tensor; invScale: number; maxNorm: number }): void;
  protected abstract torchOptions(weightDecay: number): TorchOptions;
  /** The state of one parameter; null: none is kept. */
  protected abstract entryOf(name: string): Readonly<Record<string, unknown>> | null;
  /** Overwrites the moments; returns the number of steps. `of(i)`: the saved state of parameter order[i]. */
  protected abstract restoreEntries(order: readonly string[], of: (i: number) => unknown, saved: unknown): Promise<number>;
}

/** Overwrites rows (first dim) of a tensor by zeros. */
export function clearRows(tensor: Tensor, rows: Int32Array): void {
  if (rows.length === 0) return;
  const { engine, shape, size } = tensor;
  const [height, width] = [shape[0]!, size / shape[0]!];
  engine.scope(() =>
    engine.ops.scatterRows(
      engine.view(tensor, 0, [height, width]),
      engine.tensor(rows, [rows.length]),
      engine.ops.fill({ shape: [rows.length, width] }),
    ),
  );
}

/** The `step` of all entries, which must agree: one count serves all parameters. */
export async function commonStep(order: readonly string[], of: (i: number) => unknown): Promise<number> {
  let common = 0;
  for (const [i, name] of order.entries()) {
    const steps = await scalar(entry(of(i), 'step'), `step of ${name}`);
    if (i > 0 && steps !== common) throw mismatch(`${name} took ${steps} steps, ${order[0]} took ${common}`);
    common = steps;
  }
  return common;
}
