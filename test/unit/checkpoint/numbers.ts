import type { FileDType } from '../../../ts/checkpoint/index.js';

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15));
}

/** Elements of little-endian bytes; 64-bit integers as bigint. */
export function numbersOf(bytes: Uint8Array, dtype: FileDType): (number | bigint)[] {
  const { buffer, byteOffset, length } = bytes.slice();
  const at = [buffer as ArrayBuffer, byteOffset] as const;
  switch (dtype) {
    case 'f32':
      return [...new Float32Array(...at, length / 4)];
    case 'f64':
      return [...new Float64Array(...at, length / 8)];
    case 'f16':
      return Array.from(new Uint16Array(...at, length / 2), half);
    case 'bf16':
      return Array.from(new Uint16Array(...at, length / 2), (b) => new Float32Array(Uint32Array.of(b << 16).buffer)[0]!);
    case 'i64':
      return [...new BigInt64Array(...at, length / 8)];
    case 'u64':
      return [...new BigUint64Array(...at, length / 8)];
    case 'i32':
      return [...new Int32Array(...at, length / 4)];
    case 'u32':
      return [...new Uint32Array(...at, length / 4)];
    case 'i16':
      return [...new Int16Array(...at, length / 2)];
    case 'u16':
      return [...new Uint16Array(...at, length / 2)];
    case 'i8':
      return [...new Int8Array(...at, length)];
    default:
      return [...bytes];
  }
}
