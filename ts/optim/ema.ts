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

  /** These rows (first dim) of a parameter were replaced: their averages become what they are now. Enqueued. */
  resetRows(name: string, rows: Int32Array): void {
    if (rows.length === 0) return;
    const { engine } = this.params;
    const [from, to] = [this.params.get(name), this.average.get(name)];
    const [height, width] = [from.shape[0]!, from.size / from.shape[0]!];
    engine.scope(() => {
      const idx = engine.tensor(rows, [rows.length]);
      const now = engine.ops.embedding(engine.view(from, 0, [height, width]), idx);
      engine.ops.scatterRows(engine.view(to, 0, [height, width]), idx, now);
    });
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
