import { checkInt, checkNumber } from '../core/check.js';
import type { Tensor } from '../engine/index.js';
import type { ParamRange } from '../nn/index.js';
import { filterParams, type ParamGroup } from './filter-params.js';
import type { GradScaler } from './grad-scaler.js';
import { type GradStats, gradStats, type Optimizer } from './optimizer.js';
import { entry } from './state.js';

export interface OptimizerStepOptions {
  /** Default: filterParams of the optimizer's parameters. The schedule writes their lr and weightDecay. */
  readonly groups?: readonly ParamGroup[];
  /** Bound of the global gradient norm; 0 (default): no clipping. */
  readonly clip?: number;
  /** Iterations per optimizer step; default 1. */
  readonly accumulation?: number;
  readonly scaler?: GradScaler;
}

export interface StepReport {
  /** Global norm before clipping, unscaled, of the finite gradients. */
  readonly gradNorm: number;
  /** Elements of all gradients that are not finite. Above 0 nothing has been changed. */
  readonly nonFinite: number;
  /** The first parameter, in the order of declaration, with such an element. */
  readonly firstBad: string | null;
  readonly skipped: boolean;
  /** Base-2 logarithm of the scale the gradients had; null without a scaler. */
  readonly scaleLog2: number | null;
}

/** The optimizer's part of an iteration: norm, check, clip and update enqueued at once, then one read of two numbers. */
export class OptimizerStep {
  readonly groups: readonly ParamGroup[];
  readonly clip: number;
  readonly accumulation: number;
  readonly scaler: GradScaler | undefined;
  private norm = -1;
  private stats: GradStats | undefined;
  /** Whether the stats belong to a recorded step. */
  private recorded = false;
  private invScale = 1;

  constructor(
    readonly optimizer: Optimizer,
    options: OptimizerStepOptions = {},
  ) {
    this.groups = options.groups ?? filterParams(optimizer.params);
    this.clip = Math.max(checkNumber('clip', options.clip ?? 0, -Number.MAX_VALUE, Number.MAX_VALUE), 0);
    this.accumulation = checkInt('accumulation', options.accumulation ?? 1, 1);
    this.scaler = options.scaler;
  }

  /** What the loss is multiplied by before the backward pass: the scaler's scale over the accumulation. */
  get lossScale(): number {
    return (this.scaler?.scale ?? 1) / this.accumulation;
  }

  /** Norm of the last step, for the log of iterations without one; -1 before the first. */
  get gradNorm(): number {
    return this.norm;
  }

  /** Steps with the rates that the groups hold. Gradients stay: clear them afterwards. */
  async run(): Promise<StepReport> {
    const { optimizer, clip } = this;
    const stats = gradStats(optimizer.params);
    this.keep(stats, false);
    optimizer.step({ groups: this.steps(), invScale: this.invScale, maxNorm: clip, stats: stats.total });
    return await this.settle(stats);
  }

  /** A step that is not taken, because a loss was not finite; the gradients still tell where the trouble began. */
  async refuse(): Promise<StepReport> {
    this.keep(gradStats(this.optimizer.params), false);
    return await this.refused();
  }

  /** What the next step reads of `dynamic` in record(): lr, weight decay, step and inverse scale of every range, [ranges * 4]. */
  rates(): Float32Array {
    const inverse = 1 / (this.scaler?.scale ?? 1);
    return Float32Array.from(this.steps().flatMap(({ lr, weightDecay }) => [lr, weightDecay, this.optimizer.steps + 1, inverse]));
  }

  /**
   * Enqueues a step inside a capture. Each run reads its rates from `dynamic` [ranges * 4] and changes nothing where a gradient or `loss` [1]
   * is not finite; settled() follows every run, after repeated() where it was a replay.
   */
  record(dynamic: Tensor, loss: Tensor): GradStats {
    const { optimizer, clip } = this;
    const { engine } = optimizer.params;
    const stats = gradStats(optimizer.params);
    const groups = this.steps().map((group, i) => ({ ...group, dynamic: engine.view(dynamic, 4 * i, [4]) }));
    optimizer.step({ groups, maxNorm: clip, stats: withLoss(stats.total, loss) });
    return stats;
  }

  /** What became of a recorded step. `finite`: whether its loss was. */
  async settled(stats: GradStats, finite: boolean): Promise<StepReport> {
    this.keep(stats, true);
    if (finite) return await this.settle(stats);
    this.optimizer.revoke();
    return await this.refused();
  }

  private steps(): { range: ParamRange; lr: number; weightDecay: number }[] {
    return this.groups.flatMap(({ ranges, lr, weightDecay }) => ranges.map((range) => ({ range, lr, weightDecay })));
  }

  private async settle({ total }: GradStats): Promise<StepReport> {
    const { optimizer } = this;
    const [sum, nonFinite] = (await total.read()) as Float32Array as unknown as [number, number];
    const skipped = nonFinite > 0;
    if (skipped) optimizer.revoke();
    const scaleLog2 = this.nextScale(skipped);
    this.norm = Math.sqrt(sum) * this.invScale;
    const firstBad = skipped ? await this.findBad() : null;
    return { gradNorm: this.norm, nonFinite, firstBad, skipped, scaleLog2 };
  }

  private async refused(): Promise<StepReport> {
    const scaleLog2 = this.nextScale(true);
    const rows = await this.rows();
    const nonFinite = [...rows.values()].reduce((sum, [, count]) => sum + count, 0);
    return { gradNorm: Number.NaN, nonFinite, firstBad: this.firstBad(rows), skipped: true, scaleLog2 };
  }

  /** Tells the scaler; gives the exponent of the scale that the step had. */
  private nextScale(skipped: boolean): number | null {
    const { scaler } = this;
    if (!scaler) return null;
    const { scale } = scaler;
    scaler.update(skipped);
    return Math.log2(scale);
  }

  /** Unscaled norms of the last step by parameter, in the order of declaration. */
  async perParameter(): Promise<Map<string, number>> {
    const rows = await this.rows();
    return new Map(this.optimizer.params.names.map((name) => [name, Math.sqrt(rows.get(name)?.[0] ?? 0) * this.invScale]));
  }

  /** As the reference's AmpOptimizer: optimizer, and scaler where there is one. Tensors are live. */
  state(): Record<string, unknown> {
    return { ...(this.scaler && { scaler: this.scaler.state() }), optimizer: this.optimizer.state(this.groups) };
  }

  /** Takes back what state() or the reference wrote. A scaler starts afresh where the file has none. */
  async restore(saved: unknown): Promise<void> {
    const scaler = entry(saved, 'scaler');
    if (this.scaler && scaler !== undefined) await this.scaler.restore(scaler);
    await this.optimizer.restore(entry(saved, 'optimizer'), this.groups);
  }

  /** Frees the norms of the last step; the optimizer is the caller's. */
  dispose(): void {
    this.drop();
  }

  private async findBad(): Promise<string | null> {
    return this.firstBad(await this.rows());
  }

  private firstBad(rows: ReadonlyMap<string, readonly [number, number]>): string | null {
    return this.optimizer.params.names.find((name) => (rows.get(name)?.[1] ?? 0) > 0) ?? null;
  }

  private async rows(): Promise<Map<string, readonly [number, number]>> {
    const { buckets } = this.optimizer.params;
    const read = (tensor: Tensor) => tensor.read() as Promise<Float32Array>;
    const data = await Promise.all((this.stats?.buckets ?? []).map(read));
    return new Map(data.flatMap((list, b) => buckets[b]!.names.map((name, i) => [name, [list[2 * i]!, list[2 * i + 1]!]] as const)));
  }

  /** The norms of the step under way take the place of those of the last. */
  private keep(stats: GradStats, recorded: boolean): void {
    this.drop();
    this.stats = stats;
    this.recorded = recorded;
    this.invScale = 1 / (this.scaler?.scale ?? 1);
  }

  private drop(): void {
    if (this.stats && !this.recorded) for (const tensor of [this.stats.total, ...this.stats.buckets]) tensor.dispose();
    this.stats = undefined;
  }
}

/** Stats [2] with a loss [1] counted among what is not finite; the sum of squares keeps its bits. */
function withLoss(total: Tensor, loss: Tensor): Tensor {
  const { engine } = total;
  const { ops } = engine;
  return engine.scope(() => {
    const row = ops.gradStats(ops.reshape(loss, { shape: [1] }), engine.tensor(Int32Array.of(0, 1), [2]));
    const count = ops.slice(row, { axis: 1, start: 1, size: 1 });
    const both = ops.concat(ops.fill({ shape: [1, 1] }), count, { axis: 1 });
    return ops.binary(total, ops.reshape(both, { shape: [2] }), { fn: 'add' });
  });
}
