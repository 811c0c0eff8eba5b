import { ArgumentError } from '../core/errors.js';
import type { Parameters } from '../nn/index.js';
import type { EMA, GradStats, OptimizerStep, ScheduledGroup, StepReport } from '../optim/index.js';
import { SavedTensor, savedWeights } from './saved.js';
import type { StateValue } from './task.js';

/** Optimizer state in the two places of a checkpoint. */
export interface OptimizerState {
  /** As the reference's AmpOptimizer: optimizer, scaler. */
  readonly optimizer: StateValue;
  /** What the reference has no place for: averaged weights, gradients of an accumulation under way. */
  readonly more: StateValue;
}

/** What the loop drives: gradients are cleared before the first iteration of an accumulation, `step` follows the last. */
export interface LoopOptimizer {
  /** The schedule writes lr and weightDecay of every group before each iteration. */
  readonly groups: readonly ScheduledGroup[];
  /** What a task multiplies its loss by: the scaler's scale over the accumulation. */
  readonly lossScale: number;
  /** Trained elements. */
  readonly parameters: number;
  zeroGrads(): void;
  /** `badLoss`: a loss of this accumulation was not finite; nothing is changed then, whatever the gradients are. */
  step(badLoss: boolean): Promise<StepReport>;
  /** Tensors are live: they are read before the next iteration. */
  state(midAccumulation: boolean): OptimizerState;
  restore(state: OptimizerState): Promise<void>;
}

/** The optimizer of a model: one OptimizerStep over its Parameters, and the average of its weights where one is kept. */
export class ModelOptimizer implements LoopOptimizer {
  constructor(
    readonly params: Parameters,
    readonly stepper: OptimizerStep,
    readonly ema?: EMA,
  ) {}

  get groups(): readonly ScheduledGroup[] {
    return this.stepper.groups;
  }

  get lossScale(): number {
    return this.stepper.lossScale;
  }

  get parameters(): number {
    return this.params.size;
  }

  zeroGrads(): void {
    this.params.zeroGrads();
  }

  async step(badLoss: boolean): Promise<StepReport> {
    const report = badLoss ? await this.stepper.refuse() : await this.stepper.run();
    return this.stepped(report);
  }

  /** As step(), of a recorded one. `finite`: whether its loss was. */
  async settled(stats: GradStats, finite: boolean): Promise<StepReport> {
    return this.stepped(await this.stepper.settled(stats, finite));
  }

  private stepped(report: StepReport): StepReport {
    if (!report.skipped) this.ema?.update();
    return report;
  }

  state(midAccumulation: boolean): OptimizerState {
    const grads = midAccumulation ? this.params.buckets.map(({ grads: tensor }) => tensor) : undefined;
    return { optimizer: this.stepper.state(), more: { ema: this.ema?.state(), grads } };
  }

  async restore({ optimizer, more }: OptimizerState): Promise<void> {
    await this.stepper.restore(optimizer);
    const { ema, grads } = (more ?? {}) as { ema?: StateValue; grads?: readonly StateValue[] };
    if (this.ema && ema) await this.ema.restore(savedWeights('nextscale.ema', ema));
    if (grads) this.restoreGrads(grads);
    await this.params.engine.flush();
  }

  private restoreGrads(saved: readonly StateValue[]): void {
    const { engine, buckets } = this.params;
    for (const [i, bucket] of buckets.entries()) {
      const tensor = saved[i];
      if (!(tensor instanceof SavedTensor) || tensor.size !== bucket.size)
        throw new ArgumentError(`the checkpoint holds other gradients: ${bucket.size} elements are expected in part ${i}`);
      engine.scope(() => engine.ops.writeSlice(bucket.grads!, tensor.load(engine, { dtype: 'f32' }), { axis: 0, start: 0 }));
    }
  }

  /** Forgets what was gathered about rows of one parameter: these rows were replaced. Their average starts from the new values. */
  clearRows(name: string, rows: Int32Array): void {
    this.stepper.optimizer.resetRows(name, rows);
    this.ema?.resetRows(name, rows);
  }

  /** Frees moments and averages; the parameters are the task's. */
  dispose(): void {
    this.stepper.dispose();
    this.stepper.optimizer.dispose();
    this.ema?.dispose();
  }
}
