// Commands on their way to the worker, and how many may be.
import { BusyError, EngineClosedError } from '../core/errors.js';
import type { Addon, Handle, NativeStats } from './addon.js';
import { Encoder } from './encoder.js';
import { toError, typed } from './late.js';

/** Queued work above this multiple of the bound is refused. */
const HARD = 4;

export interface QueueParts {
  readonly addon: Addon;
  readonly maxCommands: number;
  readonly maxBytes: number;
}

/** Gathers commands and hands them to the addon, many in one call: at the latest when the running JavaScript has ended. */
export class CommandQueue {
  readonly #parts: QueueParts;
  #handle: Handle | undefined;
  readonly #encoder = new Encoder();
  readonly #inFlight = new Float64Array(2);
  #scheduled = false;
  #budget = 0;

  constructor(parts: QueueParts, handle: Handle) {
    this.#parts = parts;
    this.#handle = handle;
  }

  get closed(): boolean {
    return this.#handle === undefined;
  }

  open(): Handle {
    if (!this.#handle) throw new EngineClosedError();
    return this.#handle;
  }

  stats(): NativeStats {
    return this.#parts.addon.stats(this.open());
  }

  /** Refuses work above the hard limit. The addon is asked only once per `budget` commands. */
  reserve(bytes: number): void {
    if (bytes === 0 && this.#budget-- > 0) return;
    const { addon, maxCommands, maxBytes } = this.#parts;
    addon.progress(this.open(), this.#inFlight);
    const commands = (this.#inFlight[0] as number) + this.#encoder.commands;
    const held = this.#inFlight[1] as number;
    if (commands >= HARD * maxCommands) {
      throw new BusyError(`${commands} commands are in flight: await engine.throttle() or raise maxInFlightCommands (${maxCommands})`);
    }
    if (held > 0 && held + bytes > HARD * maxBytes) {
      throw new BusyError(
        `${held} bytes are in flight and ${bytes} come on top: await engine.throttle() or raise maxInFlightBytes (${maxBytes})`,
      );
    }
    this.#budget = Math.min(256, HARD * maxCommands - commands - 1);
  }

  /** Where the next command is written. */
  room(): Encoder {
    if (this.#encoder.full) this.submit();
    if (!this.#scheduled) this.#schedule();
    return this.#encoder;
  }

  /** Hands over what is gathered. */
  submit(): void {
    const { length, words } = this.#encoder;
    if (length === 0) return;
    this.#encoder.clear();
    try {
      this.#parts.addon.submit(this.open(), words, length);
    } catch (e) {
      throw toError(e);
    }
  }

  close(): Promise<void> {
    const handle = this.open();
    this.submit();
    this.#handle = undefined;
    return typed(this.#parts.addon.close(handle));
  }

  #schedule(): void {
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#handle) this.submit();
    });
  }
}
