import { checkNumber } from '../core/check.js';
import type { Parameters, WeightSource } from '../nn/index.js';

/** Exponential moving average of weights: average = decay * average + (1 - decay) * weight, from the weights it was made with on. */
export class EMA {
  /** The averages; bind a model to them to evaluate it. */
  readonly average: Parameters;

  constructor(
    private readonly params: Parameters,
    readonly decay = 0.9999,
  ) {
    checkNumber('decay', decay, 0, 1);
    this.average = params.clone();
  }

  /** Enqueued after every optimizer step. */
  update(): void {
    const { ops } = this.params.engine;
    for (const [i, { values }] of this.params.buckets.entries())
      ops.accumulate(this.average.buckets[i]!.values, values, { beta: this.decay, alpha: 1 - this.decay });
  }

  /** The averages as a state dict under the names of the parameters. Tensors are live. */
  state(): Map<string, unknown> {
    return this.average.stateDict();
  }

  async restore(source: WeightSource): Promise<void> {
    await this.average.load(source);
    await this.params.engine.flush();
  }

  dispose(): void {
    this.average.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
