import { type MeterState, Meters } from './meters.js';
import type { Metrics } from './task.js';

/** Sizes of the growing logs when a checkpoint was taken. */
export interface LogMarks {
  jsonl: number;
  txt: number;
}

/** Everything the loop remembers between iterations; `ep`, `it` and `gIt` are of the next iteration, it = iters: only the epoch's end is left. */
export class LoopState {
  ep = 0;
  it = 0;
  gIt = 0;
  /** Seconds of training so far, over all processes. */
  seconds = 0;
  /** Skipped steps: of the run, of this epoch, in a row. */
  skipped = 0;
  epochSkipped = 0;
  streak = 0;
  /** A loss of the accumulation under way was not finite. */
  badLoss = false;
  /** Of the last optimizer step; -1 before the first. */
  gradNorm = -1;
  scaleLog2: number | null = null;
  lastLoss = Number.NaN;
  /** Best value of the task's metric; null before the first evaluation. */
  best: number | null = null;
  /** Best means of an epoch so far, by metric. */
  bestMeans: Metrics = {};
  evaluation: Metrics = {};
  readonly meters = new Meters();

  /** Plain values for a checkpoint. */
  save(marks: LogMarks): Record<string, unknown> {
    const { meters, ...plain } = this;
    return { ...plain, meters: meters.state(), marks };
  }

  /** Takes back what `save` gave; the counts in a row begin anew. */
  restore(saved: Record<string, unknown>): LogMarks {
    const { meters, marks, ...plain } = saved as { meters: [string, MeterState][]; marks: LogMarks } & Record<string, unknown>;
    Object.assign(this, plain);
    this.bestMeans = { ...this.bestMeans };
    this.evaluation = { ...this.evaluation };
    this.meters.restore(meters);
    this.streak = 0;
    this.badLoss = false;
    return marks;
  }

  /** Best mean of an epoch under every name; larger is better for accuracies and the like. */
  noteMeans(means: Metrics): void {
    for (const [name, value] of Object.entries(means)) {
      const known = this.bestMeans[name];
      const better = /acc|psnr|ssim|usage|perplexity/i.test(name) ? Math.max : Math.min;
      if (value !== -1 || known === undefined) this.bestMeans[name] = known === undefined || known === -1 ? value : better(known, value);
    }
  }
}
