// Progress on stderr: a bar on a terminal, plain lines otherwise.
import { Presets, SingleBar } from 'cli-progress';

const LINE_EVERY_MS = 2000;

export class Progress {
  #bar: SingleBar | undefined;
  #at = 0;
  #printed = Number.NEGATIVE_INFINITY;

  constructor(
    readonly label: string,
    readonly total: number,
    readonly silent: boolean,
  ) {
    if (silent || total <= 0 || !process.stderr.isTTY) return;
    const format = `${label} [{bar}] {value}/{total} {note} {duration_formatted}`;
    this.#bar = new SingleBar(
      { format, stream: process.stderr, hideCursor: false, gracefulExit: false, clearOnComplete: false, linewrap: true },
      Presets.legacy,
    );
    this.#bar.start(total, 0, { note: '' });
  }

  /** Moves on by one step; note says what was done. */
  step(note = ''): void {
    this.#at += 1;
    if (this.#bar) this.#bar.update(this.#at, { note });
    else if (!this.silent) this.#line(note);
  }

  /** Ends the bar, also after an error; calling it twice is harmless. */
  stop(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  #line(note: string): void {
    const now = performance.now();
    if (this.total > 20 && this.#at < this.total && now - this.#printed < LINE_EVERY_MS) return;
    this.#printed = now;
    process.stderr.write(`${this.label} ${this.#at}/${this.total}${note ? ` ${note}` : ''}\n`);
  }
}
