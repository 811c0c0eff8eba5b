import './polyfill.js';
import { throwIfAborted } from '../core/check.js';
import { ArgumentError, DisposedError } from '../core/errors.js';
import { Tensor } from './tensor.js';

/** Whoever disposes a tensor in the end. */
export interface TensorOwner {
  adopt(tensor: Tensor): void;
  forget(tensor: Tensor): void;
}

/** What a scope asks of its engine. */
export interface ScopeHost {
  enter<R>(owner: TensorOwner, group: number, fn: () => R): R;
  /** A tensor is on its own from now on. */
  released(tensor: Tensor): void;
  watchScope(scope: object, slots: ReadonlyMap<number, number>): void;
  unwatch(watched: object): void;
  cancel(group: number): void;
  endGroup(group: number): void;
}

/** A set of tensors that die together. */
export class TensorSet implements TensorOwner {
  readonly #tensors = new Set<Tensor>();

  /** `slots` mirrors the set as slot to generation, for whoever outlives it. */
  constructor(private readonly slots?: Map<number, number>) {}

  adopt(tensor: Tensor): void {
    tensor.owner = this;
    this.#tensors.add(tensor);
    this.slots?.set(tensor.slot, tensor.generation);
  }

  forget(tensor: Tensor): void {
    this.#tensors.delete(tensor);
    this.slots?.delete(tensor.slot);
  }

  get size(): number {
    return this.#tensors.size;
  }

  has(tensor: Tensor): boolean {
    return this.#tensors.has(tensor);
  }

  disposeAll(): void {
    for (const t of [...this.#tensors]) t.dispose();
  }
}

/** Calls visit with every tensor inside a value: tensors, arrays, plain objects, Maps and Sets of them. */
export function eachTensor(value: unknown, visit: (t: Tensor) => void, seen = new Set<unknown>()): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  if (value instanceof Tensor) {
    visit(value);
    return;
  }
  seen.add(value);
  if (Array.isArray(value) || value instanceof Set) for (const v of value) eachTensor(v, visit, seen);
  else if (value instanceof Map) for (const v of value.values()) eachTensor(v, visit, seen);
  else if (Object.getPrototypeOf(value) === Object.prototype || Object.getPrototypeOf(value) === null) {
    for (const v of Object.values(value)) eachTensor(v, visit, seen);
  }
}

/** Runs fn with an owner of its own; what it returns goes to `outer`, the rest is disposed. */
export function runScope<R>(host: ScopeHost, outer: TensorOwner | undefined, group: number, fn: () => R): R {
  const own = new TensorSet();
  try {
    const result = host.enter(own, group, fn);
    if (typeof (result as PromiseLike<unknown> | null)?.then === 'function') {
      throw new ArgumentError(
        'scope: the function returned a promise, but a scope is synchronous: use engine.openScope() around async work',
      );
    }
    eachTensor(result, (t) => {
      if (!own.has(t)) return;
      own.forget(t);
      t.owner = undefined;
      if (outer) outer.adopt(t);
      else host.released(t);
    });
    return result;
  } finally {
    own.disposeAll();
  }
}

/**
 * Owner of the tensors of some async work. Only the synchronous sections given to run() belong to it, so several scopes may be
 * open at once. Its signal cancels the commands of these sections that have not been executed.
 */
export class Scope {
  readonly #host: ScopeHost;
  readonly #tensors: TensorSet;
  readonly #group: number;
  readonly #signal: AbortSignal | undefined;
  readonly #abort = (): void => this.#host.cancel(this.#group);
  #closed = false;

  /** @internal */
  constructor(host: ScopeHost, group: number, signal: AbortSignal | undefined) {
    this.#host = host;
    this.#group = group;
    this.#signal = signal;
    const slots = new Map<number, number>();
    this.#tensors = new TensorSet(slots);
    // The set, not the scope: it lives as long as any of its tensors does.
    host.watchScope(this.#tensors, slots);
    signal?.addEventListener('abort', this.#abort, { once: true });
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Tensors the scope would dispose now. */
  get size(): number {
    return this.#tensors.size;
  }

  /** Runs a synchronous section: tensors created inside belong to the scope. Throws AbortError once the signal has fired. */
  run<R>(fn: () => R): R {
    if (this.#closed) throw new DisposedError('run: the scope is closed');
    throwIfAborted(this.#signal);
    return this.#host.enter(this.#tensors, this.#group, fn);
  }

  /** Takes a tensor out of the scope: it lives until its own dispose(). */
  keep<T extends Tensor>(tensor: T): T {
    if (tensor.owner === this.#tensors) {
      this.#tensors.forget(tensor);
      tensor.owner = undefined;
      this.#host.released(tensor);
    }
    return tensor;
  }

  /** Puts a tensor under the scope. */
  adopt<T extends Tensor>(tensor: T): T {
    if (this.#closed) throw new DisposedError('adopt: the scope is closed');
    if (tensor.owner) tensor.owner.forget(tensor);
    else this.#host.unwatch(tensor);
    this.#tensors.adopt(tensor);
    return tensor;
  }

  /** Disposes every tensor of the scope, which stays open: its signal goes on cancelling what is still queued. */
  clear(): void {
    this.#tensors.disposeAll();
  }

  /** Disposes every tensor of the scope; a second call does nothing. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal?.removeEventListener('abort', this.#abort);
    this.#tensors.disposeAll();
    this.#host.unwatch(this.#tensors);
    this.#host.endGroup(this.#group);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
