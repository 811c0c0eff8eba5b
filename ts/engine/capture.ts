import './polyfill.js';
import { ArgumentError, DisposedError } from '../core/errors.js';
import { showShape } from '../core/shapes.js';
import { runScope, type ScopeHost, type TensorOwner } from './scope.js';
import type { Tensor } from './tensor.js';

/** What a capture asks of its engine. */
export interface CaptureHost {
  replay(capture: object, id: number): void;
  drop(capture: object, id: number): void;
}

/** A capture while its function runs: which tensors it reads that were there before. */
export class Recording {
  readonly inputs = new Set<Tensor>();
  readonly #made = new WeakSet<Tensor>();

  made(t: Tensor): void {
    this.#made.add(t);
  }

  uses(t: Tensor): void {
    if (!this.#made.has(t)) this.inputs.add(t);
  }
}

/**
 * A sequence of op calls that ran once and can run again without JavaScript: on a GPU as one graph. Each replay reads what the tensors
 * used inside hold by then and overwrites `outputs`, in program order.
 */
export class Capture<R> implements Disposable {
  /** What the function returned. Its tensors get new values with every replay, and live until their own dispose(). */
  readonly outputs: R;
  readonly #host: CaptureHost;
  readonly #id: number;
  readonly #inputs: readonly Tensor[];
  #disposed = false;

  /** @internal */
  constructor(host: CaptureHost, id: number, inputs: Iterable<Tensor>, outputs: R) {
    this.#host = host;
    this.#id = id;
    this.#inputs = [...inputs];
    this.outputs = outputs;
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Enqueues the calls again. Attributes, random seeds among them, are those of the first time. Throws DisposedError once the capture or a
   * tensor it reads is disposed; what fails later rejects the next read() of an output.
   */
  replay(): void {
    if (this.#disposed) throw new DisposedError('replay: the capture is disposed');
    const gone = this.#inputs.find((t) => t.disposed);
    if (gone) throw new DisposedError(`replay: the capture reads a tensor ${gone.dtype}${showShape(gone.shape)} that is disposed`);
    this.#host.replay(this, this.#id);
  }

  /** Releases the memory of the calls; a second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#host.drop(this, this.#id);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Runs fn in a scope of its own; it must be synchronous. */
export function runCapture<R>(host: ScopeHost, owner: TensorOwner | undefined, group: number, fn: () => R): R {
  return runScope(host, owner, group, () => {
    const result = fn();
    if (typeof (result as PromiseLike<unknown> | null)?.then === 'function') {
      throw new ArgumentError('capture: the function returned a promise, but only the calls of a synchronous function are recorded');
    }
    return result;
  });
}
