import { setMaxListeners } from 'node:events';
import { AbortError } from '../core/errors.js';
import type { RgbImage } from './image.js';

/** State of a generation after one scale. */
export interface ScalePreview {
  /** 0 to scales - 1. */
  readonly scale: number;
  readonly of: number;
  /** Side length of the token map. */
  readonly patchNum: number;
  /** Tokens of all images at this scale, [B * patchNum * patchNum]. */
  readonly tokens: Int32Array;
  /** The images as they would look if generation ended here; empty unless previews are decoded. */
  readonly images: readonly RgbImage[];
  /** Milliseconds since the generation began. */
  readonly ms: number;
}

export interface GenerateResult {
  readonly images: RgbImage[];
  /** Per scale the tokens of all images, [B * patchNum * patchNum]. */
  readonly tokens: Int32Array[];
  readonly patchNums: readonly number[];
  /** The class of every image, numClasses where it was generated without one. */
  readonly labels: readonly number[];
  /** Given as `seed`, it makes the same images again. */
  readonly seed: number | readonly number[];
  /** Milliseconds of every scale, of the decoder and in all; a recorded graph has a total only, no scales and decode 0. */
  readonly timings: { readonly scales: readonly number[]; readonly decode: number; readonly total: number };
}

/** Work that a Generation runs: it hands out previews while it goes on. */
export type GenerationWork = (context: {
  previews: boolean;
  signal: AbortSignal;
  emit: (preview: ScalePreview) => void;
  /** Rejects with this error and cancels what is still under way; the first call counts. */
  fail: (error: unknown) => void;
}) => Promise<GenerateResult>;

/**
 * A running generation. Await it for the result, or iterate over it for the state after every scale; iterated from the start, the
 * images of every scale are decoded. Leaving the loop early cancels the work, unless the result is awaited too.
 */
export class Generation implements PromiseLike<GenerateResult>, AsyncIterable<ScalePreview> {
  private readonly done: ScalePreview[] = [];
  private readonly waiting = new Set<() => void>();
  private readonly controller = new AbortController();
  private readonly promise: Promise<GenerateResult>;
  private iterated = false;
  private awaited = false;
  private settled = false;
  private failure: { readonly error: unknown } | null = null;

  constructor(work: GenerationWork, scalePreviews: boolean | undefined, given: unknown) {
    // Anything else than a signal is refused by the work itself.
    const signal = given instanceof AbortSignal ? given : undefined;
    // Every read of the run listens to it.
    setMaxListeners(0, this.controller.signal);
    const forward = () => this.controller.abort(signal?.reason);
    if (signal?.aborted) forward();
    signal?.addEventListener('abort', forward, { once: true });
    const emit = (preview: ScalePreview) => {
      this.done.push(preview);
      this.wake();
    };
    const fail = (error: unknown) => {
      if (this.controller.signal.aborted) return;
      this.failure = { error };
      this.controller.abort(error);
    };
    // Begins in a microtask, when it is known whether somebody iterates.
    this.promise = Promise.resolve()
      .then(() => work({ previews: scalePreviews ?? this.iterated, signal: this.controller.signal, emit, fail }))
      .catch((error: unknown) => {
        if (this.failure) throw this.failure.error;
        throw this.controller.signal.aborted && !(error instanceof AbortError)
          ? new AbortError('the generation was aborted', { cause: error })
          : error;
      })
      .finally(() => {
        this.settled = true;
        signal?.removeEventListener('abort', forward);
        this.wake();
      });
    this.promise.catch(() => {});
  }

  // biome-ignore lint/suspicious/noThenProperty: a generation is awaited like a promise
  then<A = GenerateResult, B = never>(
    onDone?: ((result: GenerateResult) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    this.awaited = true;
    return this.promise.then(onDone, onError);
  }

  catch<B = never>(onError?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<GenerateResult | B> {
    return this.then(undefined, onError);
  }

  finally(onEnd?: (() => void) | null): Promise<GenerateResult> {
    this.awaited = true;
    return this.promise.finally(onEnd);
  }

  [Symbol.asyncIterator](): AsyncIterator<ScalePreview, undefined> {
    this.iterated = true;
    let at = 0;
    return {
      next: async () => {
        while (at >= this.done.length && !this.settled) await new Promise<void>((resolve) => this.waiting.add(resolve));
        if (at < this.done.length) return { done: false, value: this.done[at++]! };
        await this.promise;
        return { done: true, value: undefined };
      },
      return: async () => {
        if (!this.awaited) this.controller.abort(new AbortError('the loop over the scales was left'));
        return { done: true, value: undefined };
      },
    };
  }

  private wake(): void {
    for (const resolve of this.waiting) resolve();
    this.waiting.clear();
  }
}
