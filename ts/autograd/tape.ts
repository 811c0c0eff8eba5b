import { setImmediate as nextTurn } from 'node:timers/promises';
import { checkNumber, checkSignal, throwIfAborted } from '../core/check.js';
import type { DType, TypedData } from '../core/dtype.js';
import { ArgumentError, DisposedError, ShapeError } from '../core/errors.js';
import { showShape } from '../core/shapes.js';
import type { Engine, Graph, Scope, Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { type Part, runPart } from './checkpoint.js';
import { abandon, PassEntry, seed, walk } from './entry.js';
import { type Keeper, Recorder } from './recorder.js';
import { Value } from './value.js';

/** Recorded ops whose gradients are enqueued before the event loop gets a turn: about 200 commands. */
const ENTRIES_PER_TURN = 40;

type State = 'recording' | 'spent' | 'closed';

/**
 * Records the ops of a forward pass for one backward pass (reverse-mode differentiation). What the backward pass reads is kept by the
 * tape itself: intermediate results may be disposed as in inference. A tensor needs a gradient where it was computed from a watched one.
 */
export class Tape implements Graph {
  /** Executes at once and records. */
  readonly ops: Ops<Tensor>;
  readonly #scope: Scope;
  readonly #signal: AbortSignal | undefined;
  readonly #keeper: Keeper;
  readonly #recorder: Recorder;
  readonly #watched = new Set<Value>();
  #state: State = 'recording';

  constructor(
    readonly engine: Engine,
    options: { signal?: AbortSignal | undefined } = {},
  ) {
    this.#signal = checkSignal(options.signal);
    this.#scope = engine.openScope({ signal: this.#signal });
    const keeper: Keeper = {
      engine,
      check: (recording) => this.#check(recording),
      keep: (tensor) => this.#scope.run(() => engine.view(tensor, 0, tensor.shape)),
    };
    this.#keeper = keeper;
    this.#recorder = new Recorder(keeper);
    this.ops = this.#recorder.ops;
  }

  /** A synchronous section whose tensors belong to the tape: they are disposed with it. Throws AbortError once the signal has fired. */
  run<R>(fn: () => R): R {
    this.#check(false);
    return this.#scope.run(fn);
  }

  scope<R>(fn: () => R): R {
    return this.engine.scope(fn);
  }

  tensor(data: TypedData, shape: readonly number[], dtype?: DType): Tensor {
    return this.engine.tensor(data, shape, dtype);
  }

  empty(shape: readonly number[], dtype?: DType): Tensor {
    return this.engine.empty(shape, dtype);
  }

  /**
   * Makes a tensor a leaf: backward() adds its gradient to `grad`, in place. Both are f32 of one shape; two tapes may add to the same
   * one. Throws ArgumentError for a tensor that was computed on this tape.
   */
  watch(tensor: Tensor, grad: Tensor): void {
    this.#check(true);
    if (grad.dtype !== 'f32' || showShape(grad.shape) !== showShape(tensor.shape))
      throw new ShapeError(`watch: grad is ${grad.dtype}${showShape(grad.shape)}, expected f32${showShape(tensor.shape)}`);
    this.#leaf(tensor, new Value(tensor.shape, 'f32', grad));
  }

  /** Keeps the gradient of a tensor of this tape for gradOf(); one that is not recorded yet becomes a leaf. */
  retain(tensor: Tensor): void {
    this.#check(true);
    const value = this.#recorder.valueOf(tensor);
    if (value) value.retained = true;
    else {
      const { dtype } = tensor;
      this.#leaf(
        tensor,
        new Value(
          tensor.shape,
          dtype,
          this.#scope.run(() => this.engine.ops.fill({ shape: [...tensor.shape], dtype })),
        ),
      );
    }
  }

  /** The gradient of a watched or retained tensor; it belongs to whoever made it. */
  gradOf(tensor: Tensor): Tensor | undefined {
    const value = this.#recorder.valueOf(tensor);
    return value?.accumulator ?? value?.kept?.tensor;
  }

  /** The same values, through which no gradient flows. */
  detach(x: Tensor): Tensor {
    this.#check(false);
    return this.engine.view(x, 0, x.shape);
  }

  /** (value - x) + x, rounded as that, with the gradient going to x (Bengio et al. 2013, arXiv:1308.3432). */
  straightThrough(value: Tensor, x: Tensor): Tensor {
    this.#check(true);
    const { ops } = this.engine;
    const y = this.engine.scope(() => ops.binary(ops.binary(value, x, { fn: 'sub' }), x, { fn: 'add' }));
    const to = this.#recorder.valueOf(x);
    if (!to) return y;
    if (showShape(y.shape) !== showShape(x.shape))
      throw new ShapeError(`straightThrough: value is ${showShape(value.shape)}, x is ${showShape(x.shape)}: they must agree`);
    const out = new Value(y.shape, y.dtype);
    this.#recorder.setValue(y, out);
    this.#recorder.entries.push(new PassEntry(this.engine, to, out));
    return y;
  }

  /**
   * Runs fn without keeping its intermediate results: backward() runs it again, which must give the same. fn reads `inputs` through its
   * second argument, since the originals may be disposed by then; other tensors that it reads must live until backward() is done.
   */
  checkpoint<R extends Tensor>(inputs: readonly Tensor[], fn: Part<R>): R {
    this.#check(true);
    return runPart(this.#keeper, this.#recorder, inputs, fn);
  }

  /**
   * Adds the gradients of loss * scale to all leaves and releases what was kept, from the last op to the first. Resolves when
   * everything is enqueued, in pieces between which the event loop runs. Once per tape. Throws ArgumentError where loss has more than
   * one element or depends on no leaf, AbortError.
   */
  async backward(loss: Tensor, options: { scale?: number } = {}): Promise<void> {
    const steps = this.#start(loss, checkNumber('backward: scale', options.scale ?? 1));
    const { entries } = this.#recorder;
    try {
      for (;;) {
        if (this.#advance(steps, ENTRIES_PER_TURN)) return;
        await this.engine.throttle();
        await nextTurn();
        throwIfAborted(this.#signal);
        this.#check(false);
      }
    } finally {
      steps.return(undefined);
      abandon(entries);
    }
  }

  /**
   * backward() in one go, for steps that are captured: everything is enqueued before it returns. `scale`: also a tensor of one element,
   * read by every replay.
   */
  backwardNow(loss: Tensor, options: { scale?: number | Tensor } = {}): void {
    const { scale = 1 } = options;
    const steps = this.#start(loss, typeof scale === 'number' ? checkNumber('backwardNow: scale', scale) : scale);
    try {
      this.#advance(steps, Number.POSITIVE_INFINITY);
    } finally {
      steps.return(undefined);
      abandon(this.#recorder.entries);
    }
  }

  #start(loss: Tensor, scale: number | Tensor): Generator<void> {
    this.#check(true);
    if (loss.size !== 1) throw new ArgumentError(`backward: the loss is ${showShape(loss.shape)}, expected a single element`);
    const value = this.#recorder.valueOf(loss);
    if (!value) throw new ArgumentError('backward: the loss does not depend on a watched tensor');
    this.#state = 'spent';
    this.#scope.run(() => seed(this.engine, value, scale));
    return walk(this.#recorder.entries);
  }

  /** Goes through at most `most` records; whether all are done. */
  #advance(steps: Generator<void>, most: number): boolean {
    return this.#scope.run(() => {
      for (let i = 0; i < most; i++) if (steps.next().done) return true;
      return false;
    });
  }

  /** Disposes every tensor of the tape; a second call does nothing. */
  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    abandon(this.#recorder.entries);
    this.#scope.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #leaf(tensor: Tensor, value: Value): void {
    const known = this.#recorder.valueOf(tensor);
    if (known && !this.#watched.has(known)) throw new ArgumentError('watch: the tensor was computed on this tape');
    this.#watched.add(value);
    this.#recorder.setValue(tensor, value);
  }

  #check(recording: boolean): void {
    if (this.#state === 'closed') throw new DisposedError('the tape is closed');
    if (recording && this.#state === 'spent') throw new ArgumentError('the tape is spent: its backward pass has begun, use a new one');
  }
}
