// Learning-rate and weight-decay schedules of VAR training (reference: utils/lr_control.py of FoundationVision/VAR, lr_wd_annealing).
import { checkInt, checkNumber } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { roundHalfEven } from '../core/round.js';

export interface ScheduleOptions {
  /** 'cos', 'lin', 'lin0', 'lin00', 'linX' (X: share of the run, as in lin0.5) or 'exp'. */
  sche: string;
  peakLr: number;
  /** Weight decay at the start and at the end; a half cosine lies between. */
  wd: number;
  wdEnd: number;
  /** Iterations of linear warm-up, rounded half to even. */
  wpIt: number;
  maxIt: number;
  /** First and last learning rate as shares of peakLr. */
  wp0?: number;
  wpe?: number;
}

export interface SchedulePoint {
  lr: number;
  wd: number;
}

/** What a parameter group is to the schedule: its scales, and where the results go. */
export interface ScheduledGroup {
  lrSc?: number;
  wdSc?: number;
  lr: number;
  weightDecay: number;
}

export interface ScheduleRange {
  minLr: number;
  maxLr: number;
  minWd: number;
  maxWd: number;
}

/** Flat part of 'lin', 'lin0' and 'exp', as a share of the iterations after warm-up. */
const FLAT: ReadonlyMap<string, number> = new Map([
  ['lin', 0.15],
  ['lin0', 0.05],
  ['exp', 0.15],
]);

type Decay = (passed: number, wpe: number) => number;

/** Share of the peak as a function of the share of iterations passed after warm-up. */
function decayOf(sche: string): Decay {
  const flat = FLAT.get(sche);
  if (sche === 'cos') return (passed, wpe) => wpe + (1 - wpe) * (0.5 + 0.5 * Math.cos(Math.PI * passed));
  if (sche === 'lin00') return (passed, wpe) => wpe + (1 - wpe) * (1 - passed);
  if (sche === 'exp') return (passed, wpe) => (passed < flat! ? 1 : Math.exp(((passed - flat!) / (1 - flat!)) * Math.log(wpe)));
  if (flat !== undefined) return (passed, wpe) => (passed < flat ? 1 : wpe + ((1 - wpe) * (1 - passed)) / (1 - flat));
  const knee = /^lin(\d*\.?\d+)$/.test(sche) ? Number(sche.slice(3)) : Number.NaN;
  if (!(knee > 0 && knee < 1))
    throw new ArgumentError(
      `sche is ${JSON.stringify(sche)}: expected cos, lin, lin0, lin00, exp, or lin and a number between 0 and 1 (lin0.5)`,
    );
  return (passed, wpe) => kneeDecay(passed, wpe, knee);
}

/** Two straight lines that meet at `knee`, half-way between the straight decay and the peak. */
function kneeDecay(passed: number, wpe: number, knee: number): number {
  const mid = (1 + (wpe + (1 - wpe) * (1 - knee))) / 2;
  return passed < knee ? 1 + ((mid - 1) * passed) / knee : wpe + ((mid - wpe) * (1 - passed)) / (1 - knee);
}

/** Learning rate and weight decay at iteration `it` (from 0). Throws ArgumentError for an unknown schedule or numbers out of range. */
export function lrWdAt(options: ScheduleOptions, it: number): SchedulePoint {
  const { sche, peakLr, wd, wdEnd, maxIt, wp0 = 0.005, wpe = 0.001 } = options;
  checkInt('it', it, 0);
  checkInt('maxIt', maxIt, 1);
  for (const [name, value] of Object.entries({ peakLr, wd, wdEnd, wp0, wpe })) checkNumber(name, value, 0, Number.MAX_VALUE);
  const wpIt = roundHalfEven(checkNumber('wpIt', options.wpIt, 0, Number.MAX_SAFE_INTEGER));
  const decay = decayOf(sche);
  const share = it < wpIt ? wp0 + ((1 - wp0) * it) / wpIt : decay(ratio(it - wpIt, maxIt - 1 - wpIt), wpe);
  return { lr: share * peakLr, wd: wdEnd + (wd - wdEnd) * (0.5 + 0.5 * Math.cos(Math.PI * ratio(it, maxIt - 1))) };
}

/** Runs that end with the warm-up, or after one iteration, have nothing to decay over. */
function ratio(part: number, whole: number): number {
  return whole === 0 ? 0 : part / whole;
}

/** Gives every group its rates, scaled by lrSc and wdSc, and returns the extremes; minWd counts only groups with a positive decay, -1 if there is none. */
export function annealGroups(groups: readonly ScheduledGroup[], { lr, wd }: SchedulePoint): ScheduleRange {
  const range: ScheduleRange = { minLr: -1, maxLr: -1, minWd: -1, maxWd: -1 };
  for (const group of groups) {
    group.lr = lr * (group.lrSc ?? 1);
    group.weightDecay = wd * (group.wdSc ?? 1);
    range.minLr = range.minLr < 0 ? group.lr : Math.min(range.minLr, group.lr);
    range.maxLr = Math.max(range.maxLr, group.lr);
    range.maxWd = Math.max(range.maxWd, group.weightDecay);
    if (group.weightDecay > 0) range.minWd = range.minWd < 0 ? group.weightDecay : Math.min(range.minWd, group.weightDecay);
  }
  return range;
}
