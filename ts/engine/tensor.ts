import './polyfill.js';
import { checkSignal } from '../core/check.js';
import { allocate, type DType, type TypedData } from '../core/dtype.js';
import { AbortError, DisposedError, OutOfMemoryError } from '../core/errors.js';
import { showShape, sizeOf } from '../core/shapes.js';
import type { TensorRef } from '../core/types.js';
import type { Engine } from './engine.js';
import type { TensorOwner } from './scope.js';

/** What the engine does for its tensors. */
export interface TensorHost {
  release(tensor: Tensor): void;
  download(tensor: Tensor, into: TypedData): Promise<void>;
  write(tensor: Tensor, data: TypedData): void;
}

/** The tensor whose memory it is and the first byte in it. @internal */
export interface Place {
  readonly slot: number;
  readonly generation: number;
  readonly at: number;
}

/**
 * A tensor on an engine's device. It names memory that the engine's worker owns: the values of a tensor just made may not be
 * computed yet, and dispose() releases the memory once everything enqueued before is done.
 */
export class Tensor implements TensorRef {
  readonly engine: Engine;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly slot: number;
  readonly generation: number;
  /** Where a view lies; undefined for a tensor with memory of its own. @internal */
  readonly place: Place | undefined;
  /** @internal */
  owner: TensorOwner | undefined;
  /** Lies in a mapped file. @internal */
  ofFile = false;
  readonly #host: TensorHost;
  #disposed = false;

  /** @internal */
  constructor(
    engine: Engine,
    host: TensorHost,
    slot: number,
    generation: number,
    dtype: DType,
    shape: readonly number[],
    place?: Place | undefined,
  ) {
    this.engine = engine;
    this.#host = host;
    this.slot = slot;
    this.generation = generation;
    this.dtype = dtype;
    this.shape = shape;
    this.place = place;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * The values, once everything enqueued before is done; f16 and bf16 as their bits. Rejects with the late error of the op that
   * failed to make them, with DisposedError or, when the signal fires first, with AbortError.
   */
  async read(options: { signal?: AbortSignal | undefined } = {}): Promise<TypedData> {
    const signal = checkSignal(options.signal);
    if (this.#disposed) throw new DisposedError(`read: tensor ${this.dtype}${showShape(this.shape)} is disposed`);
    const into = this.#room();
    const work = this.#host.download(this, into);
    await (signal ? abortable(work, signal) : work);
    return into;
  }

  /**
   * Replaces the values, in program order: what is enqueued before still reads the old ones. Takes a copy of data, which has the
   * element type of the tensor (f16 and bf16 as their bits) and its number of elements.
   */
  write(data: TypedData): void {
    if (this.#disposed) throw new DisposedError(`write: tensor ${this.dtype}${showShape(this.shape)} is disposed`);
    this.#host.write(this, data);
  }

  #room(): TypedData {
    try {
      return allocate(this.dtype, this.size);
    } catch {
      const shapes = `${this.dtype}${showShape(this.shape)}`;
      throw new OutOfMemoryError(`read: no host memory for ${shapes}`, { op: 'read', command: 0, shapes });
    }
  }

  /** Releases the memory after what is enqueued; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.owner?.forget(this);
    this.owner = undefined;
    this.#host.release(this);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor ${this.dtype}${showShape(this.shape)}${this.#disposed ? ' (disposed)' : ''}`;
  }
}

function abortable(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(new AbortError('read was aborted', { cause: signal.reason }));
    signal.addEventListener('abort', abort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
