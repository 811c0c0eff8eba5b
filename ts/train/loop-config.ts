import { checkBoolean, checkInt, checkNumber, checkString } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { lrWdAt, type SchedulePoint } from '../optim/index.js';
import { linspaceInt } from './format.js';

/** What the loop itself needs of a configuration; names as in the reference, the derived ones filled in. */
export interface LoopConfig {
  /** Epochs, and iterations per optimizer step. */
  ep: number;
  ac: number;
  /** Peak learning rate (already scaled by the batch), weight decay at the start and at the end. */
  tlr: number;
  twd: number;
  twde: number;
  /** Bound of the gradient norm; 0 or less: none. Only logged here. */
  tclip: number;
  sche: string;
  /** Warm-up in epochs; first and last learning rate as shares of tlr. */
  wp: number;
  wp0: number;
  wpe: number;
  /** Evaluation every so many epochs and after the last. */
  val_ep: number;
  /** Checkpoint every so many iterations and minutes, 0: not by this; at every epoch's end, or only at the last. */
  save_it: number;
  save_min: number;
  save_ep: boolean;
  /** Older checkpoints that stay beside the last. */
  keep: number;
  /** Metrics are read every so many iterations; 0: about 250 times an epoch. */
  log_it: number;
  /** Detailed metrics for TensorBoard; 0: as the reference every 500 iterations, more often in runs below 50,000. */
  tb_it: number;
  /** Skipped steps in a row before the run goes back to the last good checkpoint, and how often it does that before it gives up. */
  max_nan: number;
  max_rewind: number;
}

export const LOOP_DEFAULTS: Omit<LoopConfig, 'ep' | 'tlr' | 'twd' | 'twde'> = {
  ac: 1,
  tclip: 2,
  sche: 'lin0',
  wp: 0,
  wp0: 0.005,
  wpe: 0.01,
  val_ep: 10,
  save_it: 0,
  save_min: 10,
  save_ep: true,
  keep: 1,
  log_it: 0,
  tb_it: 0,
  max_nan: 10,
  max_rewind: 3,
};

/** Throws ArgumentError that names the option. */
export function checkLoopConfig(c: LoopConfig): LoopConfig {
  checkInt('ep', c.ep, 1);
  checkInt('ac', c.ac, 1);
  for (const name of ['tlr', 'twd', 'twde', 'wp', 'wp0', 'wpe', 'save_min'] as const) checkNumber(name, c[name], 0, Number.MAX_VALUE);
  checkNumber('tclip', c.tclip, -Number.MAX_VALUE, Number.MAX_VALUE);
  checkString('sche', c.sche);
  for (const name of ['val_ep', 'max_nan'] as const) checkInt(name, c[name], 1);
  for (const name of ['save_it', 'keep', 'log_it', 'tb_it', 'max_rewind'] as const) checkInt(name, c[name], 0);
  checkBoolean('save_ep', c.save_ep);
  if (c.wp > c.ep) throw new ArgumentError(`wp is ${c.wp}: expected a number of epochs up to ep, ${c.ep}`);
  lrWdAt({ sche: c.sche, peakLr: c.tlr, wd: c.twd, wdEnd: c.twde, wpIt: 0, maxIt: 2, wp0: c.wp0, wpe: c.wpe }, 0);
  return c;
}

/** Learning rate and weight decay of iteration gIt; `iters`: of an epoch. */
export function ratesAt({ sche, tlr, twd, twde, wp, wp0, wpe, ep }: LoopConfig, iters: number, gIt: number): SchedulePoint {
  return lrWdAt({ sche, peakLr: tlr, wd: twd, wdEnd: twde, wpIt: wp * iters, maxIt: ep * iters, wp0, wpe }, gIt);
}

/** Which iterations print, read their metrics, and read detailed ones; a function of the iteration alone, so that resuming changes nothing. */
export class LogPlan {
  private readonly printed: ReadonlySet<number>;
  private readonly every: number;
  private readonly detailedEvery: number;

  constructor(config: LoopConfig, iters: number) {
    // as the reference: 30 lines of a long epoch, 5 of a short one
    this.printed = new Set(linspaceInt(iters - 1, iters > 8000 ? 30 : 5));
    this.every = config.log_it || Math.max(1, Math.round(iters / 250));
    this.detailedEvery = config.tb_it || Math.min(500, Math.max(1, Math.round((config.ep * iters) / 100)));
  }

  prints(it: number): boolean {
    return this.printed.has(it);
  }

  detailed(gIt: number): boolean {
    return gIt === 0 || (gIt + 1) % this.detailedEvery === 0;
  }

  logs(it: number, gIt: number): boolean {
    return it % this.every === 0 || this.prints(it) || this.detailed(gIt);
  }
}
