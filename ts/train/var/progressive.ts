// Progressive training of VAR: which scales are trained, and how the newest one fades in (reference: train.py, trainer.py of FoundationVision/VAR).
import { checkInt, checkNumber } from '../../core/check.js';
import { roundHalfEven } from '../../core/round.js';
import type { StepInfo } from '../task.js';

export interface ProgressiveOptions {
  /** Share of the run in which scales are added; 0 (default): all scales from the start. */
  readonly pg?: number;
  /** Scale that the run starts with, from 0; default 4. */
  readonly pg0?: number;
  /** Epochs in which the loss of a new scale grows to its full weight. */
  readonly pgwp?: number;
  /** Epochs of learning-rate warm-up, in which no scale is added. */
  readonly wp?: number;
}

/** What counts as state: under these names the reference keeps it in a checkpoint. */
export interface ProgressiveState {
  readonly prog_it: number;
  readonly last_prog_si: number;
  readonly first_prog: boolean;
}

/** What an iteration trains. */
export interface Stage {
  /** Scales 0..progSi are computed; -1: all, because progressive training is off. */
  readonly progSi: number;
  /** The newest scale where it is not the last one, else -1. */
  readonly newest: number;
  /** Weight of the loss of the newest scale. */
  readonly progWp: number;
}

export class Progressive {
  private readonly pg: number;
  private readonly pg0: number;
  private readonly pgwp: number;
  private readonly wp: number;
  private progIt = 0;
  private lastProgSi = -1;
  private firstProg = true;

  constructor(
    private readonly scales: number,
    options: ProgressiveOptions = {},
  ) {
    this.pg = checkNumber('pg', options.pg ?? 0, 0, 1);
    this.pg0 = checkInt('pg0', options.pg0 ?? Math.min(4, scales - 1), 0, this.pg > 0 ? scales - 1 : Number.MAX_SAFE_INTEGER);
    this.pgwp = checkNumber('pgwp', options.pgwp ?? 0, 0, Number.MAX_VALUE);
    this.wp = checkNumber('wp', options.wp ?? 0, 0, Number.MAX_VALUE);
  }

  /** The scale that iteration gIt of maxIt trains up to; -1 without progressive training. */
  scaleAt({ gIt, itersPerEp, maxIt }: Pick<StepInfo, 'gIt' | 'itersPerEp' | 'maxIt'>): number {
    if (this.pg === 0) return -1;
    const [wpIt, end, last] = [this.wp * itersPerEp, maxIt * this.pg, this.scales - 1];
    if (gIt <= wpIt) return this.pg0;
    if (gIt >= end) return last;
    const progress = Math.min(Math.max((gIt - wpIt) / (end - wpIt), 0), 1);
    return this.pg0 + roundHalfEven(progress * (last - this.pg0));
  }

  /** Counts one iteration and tells its stage. The first stage has no fade-in: there the learning rate warms up. */
  advance(info: Pick<StepInfo, 'gIt' | 'itersPerEp' | 'maxIt'>): Stage {
    const progSi = this.scaleAt(info);
    if (this.lastProgSi !== progSi) {
      if (this.lastProgSi !== -1) this.firstProg = false;
      this.lastProgSi = progSi;
      this.progIt = 0;
    }
    this.progIt++;
    const fade = this.pgwp * info.itersPerEp;
    const progWp = this.firstProg || fade === 0 ? 1 : Math.max(Math.min(this.progIt / fade, 1), 0.01);
    return { progSi, newest: progSi === this.scales - 1 ? -1 : progSi, progWp };
  }

  state(): ProgressiveState {
    return { prog_it: this.progIt, last_prog_si: this.lastProgSi, first_prog: this.firstProg };
  }

  restore(state: Partial<ProgressiveState>): void {
    this.progIt = Number(state.prog_it ?? 0);
    this.lastProgSi = Number(state.last_prog_si ?? -1);
    this.firstProg = Boolean(state.first_prog ?? true);
  }
}

/** Weights [1, end] of the tokens' losses: 1 / L, that of the newest scale times its fade-in. */
export function lossWeights(beginEnds: readonly (readonly [number, number])[], stage: Stage): Float32Array {
  const { newest, progWp } = stage;
  const length = beginEnds.at(-1)![1];
  const [begin, end] = newest < 0 ? [length, length] : beginEnds[newest]!;
  return new Float32Array(end).fill(1 / length).fill(progWp / length, begin, end);
}
