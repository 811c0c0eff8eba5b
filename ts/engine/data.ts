// Checks of typed arrays given as the values of a tensor.
import { checkEnum, refuse } from '../core/check.js';
import { DTYPES, type DType, type TypedData } from '../core/dtype.js';
import { ArgumentError, ShapeError } from '../core/errors.js';
import { showShape } from '../core/shapes.js';
import type { Tensor } from './tensor.js';

/** Memory that Node-API can read: it does not give that of a SharedArrayBuffer. */
export const ownMemory = (data: TypedData): TypedData => (data.buffer instanceof SharedArrayBuffer ? data.slice() : data);

/** The data of a write, checked. */
export function writable(t: Tensor, data: TypedData): TypedData {
  const name = `${t.dtype}${showShape(t.shape)}`;
  if (t.ofFile) throw new ArgumentError(`write: the tensor ${name} is a range of a file`);
  dtypeOf(data, t.dtype, 'write');
  if (data.length !== t.size) throw new ShapeError(`write: ${name} has ${t.size} elements, data has ${data.length}`);
  return ownMemory(data);
}

/** The dtype that the data stands for. */
export function dtypeOf(data: unknown, dtype: DType | undefined, what = 'tensor'): DType {
  if (dtype !== undefined) checkEnum(`${what}: dtype`, dtype, DTYPES);
  let accepted: readonly DType[];
  if (data instanceof Float32Array) accepted = ['f32'];
  else if (data instanceof Int32Array) accepted = ['i32'];
  else if (data instanceof Uint8Array) accepted = ['u8'];
  else if (data instanceof Uint16Array) accepted = ['f16', 'bf16'];
  else return refuse(`${what}: data`, data, 'a Float32Array, Int32Array, Uint8Array or Uint16Array');
  if (dtype === undefined && accepted.length === 1) return accepted[0] as DType;
  if (dtype !== undefined && accepted.includes(dtype)) return dtype;
  return refuse(`${what}: dtype`, dtype, `${accepted.join(' or ')} for a ${data.constructor.name}`);
}
