import { checkInt, checkNumber } from '../core/check.js';
import type { Tensor } from '../engine/index.js';
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
    const { optimizer, scaler, clip } = this;
    const scale = scaler?.scale ?? 1;
    this.drop();
    const stats = gradStats(optimizer.params);
    this.stats = stats;
    this.invScale = 1 / scale;
    const ranges = this.groups.flatMap(({ ranges: list, lr, weightDecay }) => list.map((range) => ({ range, lr, weightDecay })));
    optimizer.step({ groups: ranges, invScale: this.invScale, maxNorm: clip, stats: stats.total });
    const [sum, nonFinite] = (await stats.total.read()) as Float32Array as unknown as [number, number];
    const skipped = nonFinite > 0;
    if (skipped) optimizer.revoke();
    scaler?.update(skipped);
    this.norm = Math.sqrt(sum) * this.invScale;
    const firstBad = skipped ? await this.findBad() : null;
    return { gradNorm: this.norm, nonFinite, firstBad, skipped, scaleLog2: scaler ? Math.log2(scale) : null };
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
    const rows = await this.rows();
    return this.optimizer.params.names.find((name) => (rows.get(name)?.[1] ?? 0) > 0) ?? null;
  }

  private async rows(): Promise<Map<string, readonly [number, number]>> {
    const { buckets } = this.optimizer.params;
    const read = (tensor: Tensor) => tensor.read() as Promise<Float32Array>;
    const data = await Promise.all((this.stats?.buckets ?? []).map(read));
    return new Map(data.flatMap((list, b) => buckets[b]!.names.map((name, i) => [name, [list[2 * i]!, list[2 * i + 1]!]] as const)));
  }

  private drop(): void {
    this.stats?.total.dispose();
    for (const tensor of this.stats?.buckets ?? []) tensor.dispose();
    this.stats = undefined;
  }
}
