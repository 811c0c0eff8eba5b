// Smoothed metrics of an epoch and the progress line made of them (reference: SmoothedValue and MetricLogger of utils/misc.py).
import { formatDelta, formatF, formatG } from './format.js';
import type { Metrics } from './task.js';

const WINDOW = 30;

export type MeterStyle = 'value:.2g' | 'value:.2f' | 'median:.2f' | 'median:.3f' | 'median:.4f' | 'avg:.4f';

/** Plain values of a meter, for a checkpoint. */
export interface MeterState {
  window: number;
  style: MeterStyle;
  recent: number[];
  total: number;
  count: number;
}

/** The last `window` values and the mean over all. */
export class Meter {
  private recent: number[] = [];
  private total = 0;
  private count = 0;

  constructor(
    private readonly window = WINDOW,
    readonly style: MeterStyle = 'median:.4f',
  ) {}

  update(value: number): void {
    this.recent.push(value);
    if (this.recent.length > this.window) this.recent.shift();
    this.total += value;
    this.count += 1;
  }

  get empty(): boolean {
    return this.recent.length === 0;
  }

  /** Of the window; the mean of the middle two when their number is even. */
  get median(): number {
    const sorted = [...this.recent].sort((a, b) => a - b);
    const half = sorted.length >> 1;
    if (sorted.length === 0) return 0;
    return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  }

  get avg(): number {
    return this.recent.reduce((a, b) => a + b, 0) / (this.recent.length || 1);
  }

  get globalAvg(): number {
    return this.total / (this.count || 1);
  }

  get value(): number {
    return this.recent.at(-1) ?? 0;
  }

  toString(): string {
    const [what, how] = this.style.split(':.') as [string, string];
    const digits = Number(how[0]);
    if (what === 'value') return how.endsWith('g') ? formatG(this.value, digits) : formatF(this.value, digits);
    if (what === 'avg') return formatF(this.avg, digits);
    return `${formatF(this.median, digits)} (${formatF(this.globalAvg, digits)})`;
  }

  state(): MeterState {
    return { window: this.window, style: this.style, recent: [...this.recent], total: this.total, count: this.count };
  }

  static restore(state: MeterState): Meter {
    const meter = new Meter(state.window, state.style);
    meter.recent = [...state.recent];
    meter.total = state.total;
    meter.count = state.count;
    return meter;
  }
}

const STYLES: Readonly<Record<string, MeterStyle>> = {
  Lm: 'median:.3f',
  Lt: 'median:.3f',
  Accm: 'median:.2f',
  Acct: 'median:.2f',
};

/** Meters by name, in the order of their first use; tlr and tnm come first. */
export class Meters {
  private meters = Meters.fresh();

  private static fresh(): Map<string, Meter> {
    return new Map([
      ['tlr', new Meter(1, 'value:.2g')],
      ['tnm', new Meter(1, 'value:.2f')],
    ]);
  }

  update(values: Metrics): void {
    for (const [name, value] of Object.entries(values)) {
      let meter = this.meters.get(name);
      if (!meter) {
        meter = new Meter(WINDOW, STYLES[name]);
        this.meters.set(name, meter);
      }
      meter.update(value);
    }
  }

  reset(): void {
    this.meters = Meters.fresh();
  }

  /** Means over everything since the last reset. */
  averages(): Metrics {
    return Object.fromEntries([...this.meters].filter(([, meter]) => !meter.empty).map(([name, meter]) => [name, meter.globalAvg]));
  }

  toString(): string {
    return [...this.meters]
      .filter(([, meter]) => !meter.empty)
      .map(([name, meter]) => `${name}: ${meter}`)
      .join('  ');
  }

  state(): [string, MeterState][] {
    return [...this.meters].map(([name, meter]) => [name, meter.state()]);
  }

  restore(state: readonly (readonly [string, MeterState])[]): void {
    this.meters = new Map(state.map(([name, meter]) => [name, Meter.restore(meter)]));
  }
}

export interface ProgressPoint {
  ep: number;
  eps: number;
  it: number;
  iters: number;
  /** Mean seconds of an iteration so far, for the estimate. */
  secondsPerIt: number;
  meters: string;
  time: Meter;
  data: Meter;
}

/** `[Ep]: [   0/250]  [  5/50]  eta: 0:00:12  tlr: ...  time: 0.1234  data: 0.0005`. */
export function progressLine(p: ProgressPoint): string {
  const width = String(p.iters).length;
  return [
    epochHeader(p.ep, p.eps),
    `[${String(p.it).padStart(width)}/${p.iters}]`,
    `eta: ${formatDelta(p.secondsPerIt * (p.iters - p.it))}`,
    p.meters,
    `time: ${p.time}`,
    `data: ${p.data}`,
  ].join('  ');
}

export function epochHeader(ep: number, eps: number): string {
  return `[Ep]: [${String(ep).padStart(4)}/${eps}]`;
}
