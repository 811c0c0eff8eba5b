// Metrics of VAR training by the reference's names and rules (trainer.py of FoundationVision/VAR).
import type { Metrics } from '../task.js';
import type { Stage } from './progressive.js';

type Span = readonly [begin: number, end: number];

/** What the metrics of a batch are computed from, each [B, length]. */
export interface TokenResults {
  readonly batch: number;
  /** Tokens per image that were computed. */
  readonly length: number;
  readonly target: Int32Array;
  /** The most likely token. */
  readonly pred: Int32Array;
  /** Cross-entropy without label smoothing. */
  readonly ce: Float32Array;
}

/** Mean cross-entropy and share of hits (0 to 1) of the tokens [begin, end) of all images. */
export function spanMeans({ batch, length, target, pred, ce }: TokenResults, [begin, end]: Span): { loss: number; acc: number } {
  let [loss, hits] = [0, 0];
  for (let b = 0; b < batch; b++)
    for (let i = b * length + begin; i < b * length + end; i++) {
      loss += ce[i]!;
      if (pred[i] === target[i]) hits++;
    }
  const count = batch * (end - begin);
  return { loss: loss / count, acc: hits / count };
}

/** Lm, Accm over all tokens; Lt, Acct over the last scale (-1 while it is not trained); accuracies in percent. */
export function meanAndTail(results: TokenResults, spans: readonly Span[], newest: number): Metrics {
  const mean = spanMeans(results, [0, results.length]);
  const tail = newest >= 0 ? undefined : spanMeans(results, spans.at(-1)!);
  return { Lm: mean.loss, Lt: tail?.loss ?? -1, Accm: mean.acc * 100, Acct: tail ? tail.acc * 100 : -1 };
}

/** Share in percent of the codes that make up more than a thousandth of their fair share of the predictions. */
export function vocabUsage(counts: Float64Array): number {
  const total = counts.reduce((a, b) => a + b, 0);
  const least = (0.001 / counts.length) * total;
  return (counts.filter((count) => count > least).length / counts.length) * 100;
}

/** Adds how often every code was predicted. */
export function countPredictions(counts: Float64Array, pred: Int32Array): void {
  for (const code of pred) counts[code]!++;
}

/** The scalars of TensorBoard, by tag. `resos`: image side of every scale. */
export function detailedScalars(
  results: TokenResults,
  spans: readonly Span[],
  resos: readonly number[],
  vocabSize: number,
  stage: Stage,
): Metrics {
  const counts = new Float64Array(vocabSize);
  countPredictions(counts, results.pred);
  const scalars: Metrics = { 'AR_iter_loss/z_voc_usage': vocabUsage(counts) };
  for (const [si, span] of spans.entries()) {
    if (stage.newest >= 0 && si > stage.newest) break;
    const { loss, acc } = spanMeans(results, span);
    scalars[`AR_iter_loss/acc_${resos[si]}`] = acc * 100;
    scalars[`AR_iter_loss/L_${resos[si]}`] = loss;
  }
  scalars['AR_iter_schedule/prog_a_reso'] = resos.at(stage.newest)!;
  scalars['AR_iter_schedule/prog_si'] = stage.newest;
  scalars['AR_iter_schedule/prog_wp'] = stage.progWp;
  return scalars;
}
