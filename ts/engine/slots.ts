import { BusyError } from '../core/errors.js';

/** Slots that the worker has room for: kMaxSlots of native/core/command.h. */
const MAX_SLOTS = 2 ** 22;

/** Gives slot ids; a slot's generation grows by one with every use, so stale ids are told apart. */
export class SlotIds {
  readonly #free: number[] = [];
  readonly #generations: number[] = [];
  readonly #limit: number;
  #used = 0;

  constructor(limit = MAX_SLOTS) {
    this.#limit = limit;
  }

  /** Slots in use. */
  get used(): number {
    return this.#used;
  }

  take(): number {
    if (this.#used >= this.#limit) throw new BusyError(`${this.#limit} tensors are alive: dispose those no longer needed`);
    this.#used++;
    const slot = this.#free.pop() ?? this.#generations.push(0) - 1;
    // 0 means "no slot" in commands.
    this.#generations[slot] = ((this.#generations[slot] as number) % 0xfffffffe) + 1;
    return slot;
  }

  generation(slot: number): number {
    return this.#generations[slot] as number;
  }

  give(slot: number): void {
    this.#used--;
    this.#free.push(slot);
  }
}
