// Element types of checkpoint files: their size, their names in safetensors and in torch, and the engine dtype they load as.
import type { DType } from '../core/dtype.js';

interface FileDTypeSpec {
  /** Bytes of one element. */
  size: number;
  /** Name in a safetensors header. */
  safetensors?: string;
  /** torch.dtype name. */
  torch: string;
  /** Class of the torch storage; types without one are written by newer torch as UntypedStorage. */
  storage?: string;
  /** dtype in which `load` returns it by default; absent where the engine has no equivalent. */
  engine?: DType;
}

const SPECS = {
  f32: { size: 4, safetensors: 'F32', torch: 'float32', storage: 'FloatStorage', engine: 'f32' },
  f16: { size: 2, safetensors: 'F16', torch: 'float16', storage: 'HalfStorage', engine: 'f16' },
  bf16: { size: 2, safetensors: 'BF16', torch: 'bfloat16', storage: 'BFloat16Storage', engine: 'bf16' },
  f64: { size: 8, safetensors: 'F64', torch: 'float64', storage: 'DoubleStorage', engine: 'f32' },
  i64: { size: 8, safetensors: 'I64', torch: 'int64', storage: 'LongStorage', engine: 'i32' },
  i32: { size: 4, safetensors: 'I32', torch: 'int32', storage: 'IntStorage', engine: 'i32' },
  i16: { size: 2, safetensors: 'I16', torch: 'int16', storage: 'ShortStorage', engine: 'i32' },
  i8: { size: 1, safetensors: 'I8', torch: 'int8', storage: 'CharStorage', engine: 'i32' },
  u8: { size: 1, safetensors: 'U8', torch: 'uint8', storage: 'ByteStorage', engine: 'u8' },
  bool: { size: 1, safetensors: 'BOOL', torch: 'bool', storage: 'BoolStorage', engine: 'u8' },
  u16: { size: 2, safetensors: 'U16', torch: 'uint16', engine: 'i32' },
  u32: { size: 4, safetensors: 'U32', torch: 'uint32', engine: 'i32' },
  u64: { size: 8, safetensors: 'U64', torch: 'uint64', engine: 'i32' },
  f8e4m3: { size: 1, safetensors: 'F8_E4M3', torch: 'float8_e4m3fn' },
  f8e5m2: { size: 1, safetensors: 'F8_E5M2', torch: 'float8_e5m2' },
  c64: { size: 8, safetensors: 'C64', torch: 'complex64', storage: 'ComplexFloatStorage' },
  c128: { size: 16, torch: 'complex128', storage: 'ComplexDoubleStorage' },
} as const satisfies Record<string, FileDTypeSpec>;

/** Element type of a tensor in a file. */
export type FileDType = keyof typeof SPECS;

export const FILE_DTYPES = Object.keys(SPECS) as FileDType[];

/** What is known of an element type. */
export function fileDType(dtype: FileDType): FileDTypeSpec {
  return SPECS[dtype];
}

function index(field: 'safetensors' | 'torch' | 'storage'): ReadonlyMap<string, FileDType> {
  const map = new Map<string, FileDType>();
  for (const dtype of FILE_DTYPES) {
    const name = fileDType(dtype)[field];
    if (name !== undefined) map.set(name, dtype);
  }
  return map;
}

/** 'F32' -> 'f32' and so on. */
export const BY_SAFETENSORS = index('safetensors');
/** 'float32' -> 'f32' and so on. */
export const BY_TORCH = index('torch');
/** 'FloatStorage' -> 'f32' and so on. */
export const BY_STORAGE = index('storage');
