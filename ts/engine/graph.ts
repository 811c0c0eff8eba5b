import type { DType, TypedData } from '../core/dtype.js';
import type { Ops } from '../gen/ops.js';
import type { Tensor } from './tensor.js';

/** Where a model enqueues its work: an engine, or a tape that records it for the backward pass. */
export interface Graph {
  readonly ops: Ops<Tensor>;
  /** Runs fn at once and disposes every tensor created inside, except those in its return value. */
  scope<R>(fn: () => R): R;
  tensor(data: TypedData, shape: readonly number[], dtype?: DType): Tensor;
  /** A tensor whose values are unspecified until they are written; default f32. */
  empty(shape: readonly number[], dtype?: DType): Tensor;
}
