// What a training run shows: a bar on a terminal, the reference's lines elsewhere, one JSON event per line with --json.
import { Presets, SingleBar } from 'cli-progress';
import type { TrainEvent } from '../train/index.js';
import { bytes, type Context, duration } from './context.js';

const MEASURED_STEPS = 5;

export interface Expected {
  maxIt: number;
  flopsPerIt: number;
  /** Most memory the engine took, once it is known. */
  peakBytes: () => number;
}

export class TrainDisplay {
  private bar: SingleBar | undefined;
  private steps = 0;
  private seconds = 0;

  constructor(
    private readonly ctx: Context,
    private readonly eps: number,
    private readonly iters: number,
    private readonly expected: Expected,
  ) {}

  readonly show = (event: TrainEvent): void => {
    if (this.ctx.json) {
      process.stdout.write(`${JSON.stringify(event)}\n`);
      return;
    }
    if (event.type === 'step') this.step(event);
    else if (event.type === 'progress') this.line(event.line, !process.stderr.isTTY);
    else if (event.type === 'epoch' || event.type === 'eval') this.line(event.line);
    else if (event.type === 'resume') this.line(`[auto_resume success] ${event.path}: epoch ${event.ep}, iteration ${event.it}`);
    else if (event.type === 'checkpoint') {
      const { path, reason, bytes: size, seconds, best } = event;
      if (reason !== 'time' && reason !== 'steps')
        this.line(`[saving ckpt](*) finished!  @ ${path} (${bytes(size)}, ${duration(seconds)})${best ? `, best @ ${best}` : ''}`);
    } else if (event.type === 'warning') {
      this.stop();
      this.ctx.warn(event.message);
    }
  };

  stop(): void {
    this.bar?.stop();
    this.bar = undefined;
  }

  private step(event: Extract<TrainEvent, { type: 'step' }>): void {
    this.measure(event.seconds);
    if (this.ctx.silent || !process.stderr.isTTY) return;
    const ended = event.it + 1 === this.iters;
    this.bar ??= this.begin(event);
    const metrics = Object.entries(event.metrics).map(([name, value]) => `${name} ${value.toFixed(3)}`);
    this.bar.update(event.it + 1, metrics.length > 0 ? { note: metrics.join(' ') } : {});
    if (ended) this.stop();
  }

  private begin({ ep, it }: { ep: number; it: number }): SingleBar {
    const format = `[Ep]: [${String(ep).padStart(4)}/${this.eps}] [{bar}] {value}/{total} eta {eta_formatted} {note}`;
    const bar = new SingleBar({ format, stream: process.stderr, hideCursor: false, gracefulExit: false }, Presets.legacy);
    bar.start(this.iters, it, { note: '' });
    return bar;
  }

  /** After the first steps, the first of which is slower: how long the rest takes. */
  private measure(seconds: number): void {
    if (++this.steps > MEASURED_STEPS) return;
    if (this.steps > 1) this.seconds += seconds;
    if (this.steps < MEASURED_STEPS) return;
    const { maxIt, flopsPerIt, peakBytes } = this.expected;
    const each = this.seconds / (MEASURED_STEPS - 1);
    const rate = (flopsPerIt / each / 1e9).toFixed(1);
    this.line(
      `measured: ${duration(each)} per iteration (${rate} GFLOP/s), the whole run about ${duration(each * maxIt)}; memory ${bytes(peakBytes())}`,
    );
  }

  private line(text: string, shown = true): void {
    if (!shown) return;
    if (this.bar && !this.ctx.silent) this.stop();
    this.ctx.note(text);
  }
}
