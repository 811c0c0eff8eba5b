// The captures of one engine: recorded, replayed, dropped.
import { ArgumentError } from '../core/errors.js';
import { Capture, type CaptureHost, Recording } from './capture.js';
import { CAPTURE } from './encoder.js';
import type { LeakNet } from './leaks.js';
import type { CommandQueue } from './queue.js';

export class Captures implements CaptureHost {
  /** The capture under way. */
  recording: Recording | undefined;
  readonly #queue: CommandQueue;
  readonly #leaks: LeakNet;
  readonly #group: () => number;
  #next = 1;

  /** group: of the commands enqueued now. */
  constructor(queue: CommandQueue, leaks: LeakNet, group: () => number) {
    this.#queue = queue;
    this.#leaks = leaks;
    this.#group = group;
  }

  /** Runs fn, whose result is what the capture gives. */
  record<R>(fn: () => R): Capture<R> {
    this.refuse('capture');
    const id = this.#next++;
    const recording = new Recording();
    this.#control(CAPTURE.begin, id);
    this.recording = recording;
    let outputs: R;
    try {
      outputs = fn();
      this.#control(CAPTURE.end, id);
    } catch (e) {
      this.release(id);
      throw e;
    } finally {
      this.recording = undefined;
    }
    const capture = new Capture(this, id, recording.inputs, outputs);
    this.#leaks.watchCapture(capture, id);
    return capture;
  }

  /** What waits for a result, or happens once only, has no place among calls that are run again. */
  refuse(what: string): void {
    if (this.recording) throw new ArgumentError(`${what}: not inside the function of a capture`);
  }

  replay(_: object, id: number): void {
    this.#queue.open();
    this.refuse('replay');
    this.#queue.reserve(0);
    this.#control(CAPTURE.replay, id);
  }

  drop(capture: object, id: number): void {
    this.#leaks.unwatch(capture);
    this.release(id);
  }

  /** Of the worker's memory, unless the engine is closed. */
  release(id: number): void {
    if (!this.#queue.closed) this.#control(CAPTURE.drop, id);
  }

  #control(command: number, id: number): void {
    this.#queue.room().capture(command, id, this.#group());
  }
}
