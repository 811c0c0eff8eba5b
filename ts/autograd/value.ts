import type { DType } from '../core/dtype.js';
import type { Engine, Tensor } from '../engine/index.js';

/** A gradient tensor; several values may hold the same memory, which is then read only. */
export class Gradient {
  private constructor(
    readonly tensor: Tensor,
    private readonly memory: { users: number },
  ) {
    memory.users++;
  }

  /** Takes over a tensor that nobody else uses. */
  static of(tensor: Tensor): Gradient {
    return new Gradient(tensor, { users: 0 });
  }

  /** Whether it may be written in place. */
  get exclusive(): boolean {
    return this.memory.users === 1;
  }

  /** The elements from `offset` on in another shape, in the same memory. */
  share(shape: readonly number[], offset = 0): Gradient {
    return new Gradient(this.tensor.engine.view(this.tensor, offset, shape), this.memory);
  }

  release(): void {
    this.memory.users--;
    this.tensor.dispose();
  }
}

const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((d, i) => d === b[i]);

/** What a tape knows of a tensor that needs a gradient; the gradient has the dtype of the tensor. */
export class Value {
  /** The sum of what its consumers have given so far. */
  grad: Gradient | undefined;
  /** The gradient stays readable after its use. */
  retained = false;
  kept: Gradient | undefined;

  constructor(
    readonly shape: readonly number[],
    readonly dtype: DType,
    /** Leaves: where the gradient is added. */
    readonly accumulator?: Tensor,
  ) {}

  /** Adds a gradient, which it takes over; one of another dtype is converted, as autocast's casts do it backward. */
  give(engine: Engine, given: Gradient): void {
    const { ops } = engine;
    let g = given;
    if (g.tensor.dtype !== this.dtype) {
      g = Gradient.of(ops.cast(given.tensor, { dtype: this.dtype }));
      given.release();
    }
    if (!same(g.tensor.shape, this.shape)) {
      const shaped = g.share(this.shape);
      g.release();
      g = shaped;
    }
    if (this.accumulator) {
      ops.accumulate(this.accumulator, g.tensor);
      g.release();
      return;
    }
    const old = this.grad;
    if (!old) {
      this.grad = g;
    } else if (old.exclusive) {
      ops.accumulate(old.tensor, g.tensor);
      g.release();
    } else if (g.exclusive) {
      ops.accumulate(g.tensor, old.tensor);
      this.grad = g;
      old.release();
    } else {
      this.grad = Gradient.of(ops.binary(old.tensor, g.tensor, { fn: 'add' }));
      g.release();
      old.release();
    }
  }

  /** The tensor that kernels add to: the accumulator of a leaf, otherwise the sum so far (zeros at first). */
  into(engine: Engine): Tensor {
    if (this.accumulator) return this.accumulator;
    const { ops } = engine;
    const shape = [...this.shape];
    if (!this.grad) {
      this.grad = Gradient.of(ops.fill({ shape, dtype: this.dtype }));
    } else if (!this.grad.exclusive) {
      const copy = Gradient.of(ops.reshape(this.grad.tensor, { shape }));
      this.grad.release();
      this.grad = copy;
    }
    return this.grad.tensor;
  }

  /** Takes the gradient out, for the pass through what made the value. */
  take(): Gradient | undefined {
    const { grad } = this;
    this.grad = undefined;
    if (grad && this.retained) this.kept = grad.share(this.shape);
    return grad;
  }

  drop(): void {
    this.grad?.release();
    this.grad = undefined;
  }
}
