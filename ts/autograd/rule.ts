import type { DType } from '../core/dtype.js';
import type { AttrValue } from '../core/types.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { Gradient, type Value } from './value.js';

/** What has a gradient. */
export type Floating = 'f32' | 'f16' | 'bf16';

/** A call of an op that is about to be recorded. */
export interface Call {
  readonly op: string;
  readonly engine: Engine;
  has(name: string): boolean;
  /** Whether an input needs a gradient. */
  needs(name: string): boolean;
  /** Whether a packed weight was packed on this tape, so that the weight itself is known. */
  packed(name: string): boolean;
  tensor(name: string): Tensor;
  shape(name: string): readonly number[];
  /** Of a floating-point input. */
  dtype(name: string): Floating;
  attr<T extends AttrValue = number>(name: string): T;
}

/** How the gradient of one op follows from that of its output. */
export interface Rule {
  /**
   * Names of the inputs and outputs that `backward` reads, or ArgumentError where the call has no gradient. They are kept until it has
   * run; a packed weight is kept as it was before packing.
   */
  readonly saves: (c: Call) => readonly string[];
  readonly backward: (b: Backward) => void;
  /** The call has no gradient at all (integer results). */
  readonly constant?: (c: Call) => boolean;
  /** Written with other ops, from whose rules the gradient follows; undefined: the op itself is recorded. */
  readonly compose?: (c: Call) => ((ops: Ops<Tensor>) => Tensor) | undefined;
  /** An optional input that the op fills and `backward` reads: its shape by name. */
  readonly extra?: (c: Call) => Readonly<Record<string, readonly number[]>>;
  /** Another way to make the output of a checked call. */
  readonly execute?: (c: Call) => Tensor;
}

/** What a rule sees in the backward pass: the gradient dy of the output, what was saved, and where gradients go. */
export class Backward {
  readonly ops: Ops<Tensor>;
  private readonly wide = new Map<Value, Tensor>();

  constructor(
    readonly engine: Engine,
    private readonly entry: {
      readonly values: Readonly<Record<string, Value | undefined>>;
      readonly shapes: Readonly<Record<string, readonly number[]>>;
      readonly dtypes: Readonly<Record<string, DType>>;
      readonly saved: Readonly<Record<string, Tensor>>;
      readonly attrs: Readonly<Record<string, AttrValue>>;
    },
    private readonly gradient: Gradient,
  ) {
    this.ops = engine.ops;
  }

  get dy(): Tensor {
    return this.gradient.tensor;
  }

  /** A saved input or output. */
  saved(name: string): Tensor {
    return this.entry.saved[name]!;
  }

  maybe(name: string): Tensor | undefined {
    return this.entry.saved[name];
  }

  needs(name: string): boolean {
    return this.entry.values[name] !== undefined;
  }

  shape(name: string): readonly number[] {
    return this.entry.shapes[name]!;
  }

  /** Of a floating-point input: a packed weight has that of the pack. */
  dtype(name: string): Floating {
    return this.entry.dtypes[name] as Floating;
  }

  attr<T extends AttrValue = number>(name: string): T {
    return this.entry.attrs[name] as T;
  }

  /** Gives an input a gradient that was computed for it. Temporaries of fn are disposed. Nothing happens where none is needed. */
  give(name: string, fn: () => Tensor): void {
    const value = this.entry.values[name];
    if (!value) return;
    value.give(this.engine, Gradient.of(this.engine.scope(fn)));
  }

  /** Gives an input dy itself, or the part of it that begins at `offset`, without a copy. */
  pass(name: string, offset = 0): void {
    const value = this.entry.values[name];
    if (value) value.give(this.engine, this.gradient.share(value.shape, offset));
  }

  /** The tensor to which kernels add the gradient of an input, of its dtype; undefined where none is needed. */
  intoOwn(name: string): Tensor | undefined {
    return this.entry.values[name]?.into(this.engine);
  }

  /** The same for kernels that add to f32 alone: an input of 16 bits gets the sum when the rule is done. */
  into(name: string): Tensor | undefined {
    const value = this.entry.values[name];
    if (!value || value.dtype === 'f32') return value?.into(this.engine);
    let sum = this.wide.get(value);
    if (!sum) {
      sum = this.ops.fill({ shape: [...value.shape] });
      this.wide.set(value, sum);
    }
    return sum;
  }

  /** Hands over what was added in f32 for inputs of 16 bits. */
  finish(): void {
    for (const [value, sum] of this.wide) value.give(this.engine, Gradient.of(sum));
    this.wide.clear();
  }
}
