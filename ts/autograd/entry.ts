import type { DType } from '../core/dtype.js';
import type { AttrValue } from '../core/types.js';
import type { Engine, Tensor } from '../engine/index.js';
import { Backward, type Rule } from './rule.js';
import { Gradient, type Value } from './value.js';

/** One step of the backward pass. */
export interface Entry {
  readonly out: Value;
  /** Gives the gradients of what it was made of, given its own. Yields between parts that may be enqueued apart. */
  backward(gradient: Gradient): Iterable<void>;
  /** Disposes what was saved. */
  release(): void;
}

const DONE: Iterable<void> = [];

/** A recorded op. */
export class OpEntry implements Entry {
  constructor(
    private readonly engine: Engine,
    private readonly rule: Rule,
    readonly attrs: Readonly<Record<string, AttrValue>>,
    readonly values: Readonly<Record<string, Value | undefined>>,
    readonly shapes: Readonly<Record<string, readonly number[]>>,
    readonly dtypes: Readonly<Record<string, DType>>,
    readonly saved: Readonly<Record<string, Tensor>>,
    readonly out: Value,
  ) {}

  backward(gradient: Gradient): Iterable<void> {
    const b = new Backward(this.engine, this, gradient);
    this.rule.backward(b);
    b.finish();
    return DONE;
  }

  release(): void {
    for (const tensor of Object.values(this.saved)) tensor.dispose();
  }
}

/** The identity as far as gradients are concerned. */
export class PassEntry implements Entry {
  constructor(
    private readonly engine: Engine,
    private readonly to: Value,
    readonly out: Value,
  ) {}

  backward(gradient: Gradient): Iterable<void> {
    this.to.give(this.engine, gradient.share(this.to.shape));
    return DONE;
  }

  release(): void {}
}

/** Goes through entries from the last to the first; yields after each one and releases it. */
export function* walk(entries: Entry[]): Generator<void> {
  for (let entry = entries.pop(); entry; entry = entries.pop()) {
    const gradient = entry.out.take();
    try {
      if (gradient) yield* entry.backward(gradient);
    } finally {
      gradient?.release();
      entry.release();
    }
    yield;
  }
}

/** Releases what is left of entries that will not be walked. */
export function abandon(entries: Entry[]): void {
  for (const entry of entries) {
    entry.out.drop();
    entry.release();
  }
  entries.length = 0;
}

/** The gradient that starts a backward pass; a tensor of one element is read when its turn comes. */
export function seed(engine: Engine, value: Value, scale: number | Tensor): void {
  const shape = [...value.shape];
  const { ops } = engine;
  value.give(engine, Gradient.of(typeof scale === 'number' ? ops.fill({ shape, value: scale }) : ops.reshape(scale, { shape })));
}
