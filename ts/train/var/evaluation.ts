import { ArgumentError } from '../../core/errors.js';
import type { Metrics } from '../task.js';
import { spanMeans, type TokenResults } from './metrics.js';

/** Sums over a validation set (reference: eval_ep of trainer.py of FoundationVision/VAR). */
export class Evaluation {
  private images = 0;
  private readonly mean = { loss: 0, acc: 0 };
  private readonly tail = { loss: 0, acc: 0 };

  constructor(private readonly spans: readonly (readonly [number, number])[]) {}

  add(results: TokenResults): void {
    const { batch, length } = results;
    this.images += batch;
    for (const [sum, span] of [
      [this.mean, [0, length]],
      [this.tail, this.spans.at(-1)!],
    ] as const) {
      const { loss, acc } = spanMeans(results, span);
      sum.loss += loss * batch;
      sum.acc += acc * batch * 100;
    }
  }

  /** Means over the images; accuracies in percent. Throws ArgumentError where there were none. */
  metrics(): Metrics {
    const { images, mean, tail } = this;
    if (images === 0) throw new ArgumentError('there are no images to evaluate');
    return { vL_mean: mean.loss / images, vL_tail: tail.loss / images, vacc_mean: mean.acc / images, vacc_tail: tail.acc / images };
  }
}
