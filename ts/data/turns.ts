// Bounded asynchronous work: a semaphore, and batches made ahead in order.
import { setImmediate } from 'node:timers/promises';
import { throwIfAborted } from '../core/check.js';

/** At most `places` tasks at once, first come first served. */
export class Semaphore {
  private readonly waiting: (() => void)[] = [];

  constructor(private places: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.places > 0) this.places--;
    else await new Promise<void>((go) => this.waiting.push(go));
    try {
      return await task();
    } finally {
      const next = this.waiting.shift();
      if (next) next();
      else this.places++;
    }
  }
}

/** fn(0) ... fn(n - 1), `places` at once; after an error no more are begun, and it is thrown when those under way have settled. */
export async function eachOf(n: number, places: number, fn: (i: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    try {
      while (next < n) await fn(next++);
    } catch (error) {
      next = n;
      throw error;
    }
  };
  const settled = await Promise.allSettled(Array.from({ length: Math.min(n, places) }, worker));
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
}

/** Longest stretch of copying on the event loop, milliseconds. */
const STRETCH_MS = 2;

/** Short pieces of synchronous work, one after the other, with a turn of the event loop whenever they add up to a stretch. */
export class Stretches {
  private readonly gate = new Semaphore(1);
  private since = performance.now();

  run<T>(work: () => T): Promise<T> {
    return this.gate.run(async () => {
      if (performance.now() - this.since > STRETCH_MS) {
        await setImmediate();
        this.since = performance.now();
      }
      return work();
    });
  }
}

/**
 * make(0), make(1), ... make(n - 1) in order, up to `ahead` of them begun before they are asked for. An error surfaces in its turn; at
 * the end, or when the consumer stops, the signal given to `make` is aborted and what is under way is waited for.
 */
export async function* inOrder<T>(
  n: number,
  ahead: number,
  make: (i: number, signal: AbortSignal) => Promise<T>,
  signal?: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  throwIfAborted(signal);
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  signal?.addEventListener('abort', abort, { once: true });
  const begun: Promise<T>[] = [];
  let next = 0;
  const begin = () => {
    const promise = make(next++, stop.signal);
    promise.catch(() => undefined);
    begun.push(promise);
  };
  try {
    while (next < n || begun.length > 0) {
      while (next < n && begun.length <= ahead) begin();
      const value = await begun[0]!;
      begun.shift();
      throwIfAborted(signal);
      yield value;
      throwIfAborted(signal);
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    stop.abort();
    await Promise.allSettled(begun);
  }
}
