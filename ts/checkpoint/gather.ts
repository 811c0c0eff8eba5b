// Bytes of strided views, and element types that the engine does not have, converted in JavaScript. Meant for small tables and odd
// files: whatever is contiguous and has an engine dtype is mapped instead and never comes here.
import type { DType } from '../core/dtype.js';
import { type FileDType, fileDType } from './dtype.js';
import { fail, type Where } from './fail.js';
import type { SourceFile } from './file.js';
import type { FileTensor, Region } from './value.js';
import { inflateRegion } from './zip.js';

export type NumberArray = Float32Array | Int32Array | Uint8Array | Uint16Array;

/** The part of a storage that a tensor touches: offset and length in bytes, from the start of the storage. */
function span(t: FileTensor): { offset: number; length: number } {
  const size = fileDType(t.dtype).size;
  if (t.size === 0) return { offset: t.byteOffset, length: 0 };
  const last = t.shape.reduce((sum, n, i) => sum + (n - 1) * t.strides[i]!, 0);
  return { offset: t.byteOffset, length: (last + 1) * size };
}

/** Row-major bytes of a tensor (little-endian). */
export async function readBytes(file: SourceFile, t: FileTensor): Promise<Uint8Array> {
  const { region, offset, length } = place(t);
  if (region.deflated === undefined) return arrange(await file.read(region.offset + offset, length), t);
  const all = inflateRegion(await file.read(region.offset, region.deflated), region, file.path, t.storage.key);
  return arrange(all.slice(offset, offset + length), t);
}

/** The same without waiting. */
export function readBytesSync(file: SourceFile, t: FileTensor): Uint8Array {
  const { region, offset, length } = place(t);
  if (region.deflated === undefined) return arrange(file.readSync(region.offset + offset, length), t);
  const all = inflateRegion(file.readSync(region.offset, region.deflated), region, file.path, t.storage.key);
  return arrange(all.slice(offset, offset + length), t);
}

function place(t: FileTensor): { region: Region; offset: number; length: number } {
  return { region: t.storage.region!, ...span(t) };
}

/** Brings the elements of a view into row-major order. `bytes` is freshly allocated, hence aligned. */
function arrange(bytes: Uint8Array, t: FileTensor): Uint8Array {
  if (t.contiguous) return bytes;
  const size = fileDType(t.dtype).size;
  const words = size > 8 ? size / 8 : 1;
  const Words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array, 16: BigUint64Array }[size as 1 | 2 | 4 | 8 | 16];
  const src = new Words(bytes.buffer as ArrayBuffer, 0, Math.floor(bytes.length / Words.BYTES_PER_ELEMENT));
  const dst = new Words(t.size * words);
  const index = new Array<number>(t.shape.length).fill(0);
  let from = 0;
  for (let to = 0; to < t.size; to++) {
    for (let w = 0; w < words; w++) dst[to * words + w] = src[from * words + w]!;
    for (let axis = t.shape.length - 1; axis >= 0; axis--) {
      from += t.strides[axis]!;
      if (++index[axis]! < t.shape[axis]!) break;
      from -= t.strides[axis]! * t.shape[axis]!;
      index[axis] = 0;
    }
  }
  return new Uint8Array(dst.buffer);
}

/** Elements as an array the engine takes: 64-bit integers become i32 when they fit, f64 becomes f32, bool becomes 0 or 1. */
export function toEngineArray(bytes: Uint8Array, dtype: FileDType, where: Where): { data: NumberArray; dtype: DType } {
  const { buffer, byteOffset } = bytes;
  const n = bytes.length / fileDType(dtype).size;
  switch (dtype) {
    case 'f32':
      return { data: new Float32Array(buffer, byteOffset, n), dtype };
    case 'f16':
    case 'bf16':
      return { data: new Uint16Array(buffer, byteOffset, n), dtype };
    case 'i32':
      return { data: new Int32Array(buffer, byteOffset, n), dtype };
    case 'u8':
      return { data: bytes, dtype };
    case 'bool':
      return { data: bytes.map((v) => (v === 0 ? 0 : 1)), dtype: 'u8' };
    case 'f64':
      return { data: Float32Array.from(new Float64Array(buffer, byteOffset, n)), dtype: 'f32' };
    case 'i16':
      return { data: Int32Array.from(new Int16Array(buffer, byteOffset, n)), dtype: 'i32' };
    case 'u16':
      return { data: Int32Array.from(new Uint16Array(buffer, byteOffset, n)), dtype: 'i32' };
    case 'i8':
      return { data: Int32Array.from(new Int8Array(buffer, byteOffset, n)), dtype: 'i32' };
    case 'u32':
      return { data: toInt32(new Uint32Array(buffer, byteOffset, n), where), dtype: 'i32' };
    case 'i64':
      return { data: toInt32(new BigInt64Array(buffer, byteOffset, n), where), dtype: 'i32' };
    case 'u64':
      return { data: toInt32(new BigUint64Array(buffer, byteOffset, n), where), dtype: 'i32' };
    default:
      return fail(where, `${dtype} tensors cannot be loaded, only their bytes read`);
  }
}

function toInt32(values: ArrayLike<number | bigint>, where: Where): Int32Array {
  const out = new Int32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const value = Number(values[i]!);
    if (value < -0x80000000 || value > 0x7fffffff) fail(where, `element ${i} is ${values[i]!}, beyond the range of i32`);
    out[i] = value;
  }
  return out;
}
