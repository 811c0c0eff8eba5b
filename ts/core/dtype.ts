/** Element types. The order is the wire format's. */
export const DTYPES = ['f32', 'f16', 'bf16', 'i32', 'u8'] as const;
export type DType = (typeof DTYPES)[number];

export type TypedData = Float32Array | Int32Array | Uint8Array | Uint16Array;

const SIZES: Readonly<Record<DType, number>> = { f32: 4, f16: 2, bf16: 2, i32: 4, u8: 1 };
const CODES: Readonly<Record<DType, number>> = { f32: 0, f16: 1, bf16: 2, i32: 3, u8: 4 };

/** Bytes of one element. */
export function dtypeSize(dtype: DType): number {
  return SIZES[dtype];
}

/** Number of the dtype in commands. */
export function dtypeCode(dtype: DType): number {
  return CODES[dtype];
}

/** A typed array for n elements: f16 and bf16 are their bits in a Uint16Array. */
export function allocate(dtype: DType, n: number): TypedData {
  if (dtype === 'f32') return new Float32Array(n);
  if (dtype === 'i32') return new Int32Array(n);
  if (dtype === 'u8') return new Uint8Array(n);
  return new Uint16Array(n);
}
