import type { DType } from '../core/dtype.js';
import { type FileDType, fileDType } from './dtype.js';

/** Elements of a tensor to be written; a function is called when its turn comes, so that one tensor is in memory at a time. */
export interface ByteSource {
  dtype: FileDType;
  shape: readonly number[];
  data: ArrayBufferView | (() => Promise<ArrayBufferView> | ArrayBufferView);
}

/** A tensor of the engine: read when its turn comes. */
export interface ReadableTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  read(): Promise<ArrayBufferView>;
}

export type TensorSource = ByteSource | ReadableTensor;

export function isTensorSource(value: unknown): value is TensorSource {
  if (typeof value !== 'object' || value === null) return false;
  const { dtype, shape } = value as Partial<ByteSource>;
  return (
    typeof dtype === 'string' && Array.isArray(shape) && ('data' in value || typeof (value as Partial<ReadableTensor>).read === 'function')
  );
}

/** Bytes that a source must deliver. */
export function sourceBytes(source: TensorSource): number {
  return source.shape.reduce((a, b) => a * b, 1) * fileDType(source.dtype).size;
}

/** The bytes of a source; their number is checked. */
export async function readSource(source: TensorSource, key: string): Promise<Uint8Array> {
  const view = 'data' in source ? (typeof source.data === 'function' ? await source.data() : source.data) : await source.read();
  const want = sourceBytes(source);
  if (view.byteLength !== want)
    throw new RangeError(`${key}: ${source.dtype} [${source.shape}] has ${want} bytes, its source gave ${view.byteLength}`);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
