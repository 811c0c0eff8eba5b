// Seeded numbers for the parity tests and the bits of each dtype.
import { allocate, type DType, type TypedData } from '../../ts/core/dtype.js';
import { toDType } from '../reference/kit.js';

/** splitmix32 over a hash of its name: every input of every case has numbers of its own. */
export class Draw {
  #state: number;

  constructor(...name: readonly (string | number)[]) {
    let h = 2166136261;
    for (const ch of name.join('/')) h = Math.imul(h ^ ch.charCodeAt(0), 16777619);
    this.#state = h >>> 0;
  }

  /** [0, 1) */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return ((z ^ (z >>> 15)) >>> 0) / 2 ** 32;
  }

  /** An integer in [lo, hi). */
  int(lo: number, hi: number): number {
    return lo + Math.floor(this.next() * (hi - lo));
  }

  between(lo: number, hi: number): number {
    return lo + this.next() * (hi - lo);
  }
}

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

function bits16(x: number, dtype: 'f16' | 'bf16'): number {
  const v = toDType(x, dtype);
  f32[0] = v;
  const u = u32[0] as number;
  if (dtype === 'bf16') return u >>> 16;
  const sign = (u >>> 16) & 0x8000;
  const a = Math.abs(v);
  if (Number.isNaN(v)) return 0x7e00;
  if (a === Number.POSITIVE_INFINITY) return sign | 0x7c00;
  if (a < 2 ** -14) return sign | (a * 2 ** 24);
  return sign | (((u >>> 13) & 0x3ffff) - ((127 - 15) << 10));
}

/** The values as the engine takes them. */
export function encode(values: Float64Array, dtype: DType): TypedData {
  const out = allocate(dtype, values.length);
  if (dtype !== 'f16' && dtype !== 'bf16') out.set(values);
  else for (const [i, v] of values.entries()) out[i] = bits16(v, dtype);
  return out;
}

/** The values behind what the engine gives. */
export function decode(data: TypedData, dtype: DType): Float64Array {
  if (dtype !== 'f16' && dtype !== 'bf16') return Float64Array.from(data);
  return Float64Array.from(data, (h) => {
    if (dtype === 'bf16') {
      u32[0] = h << 16;
      return f32[0] as number;
    }
    const sign = h & 0x8000 ? -1 : 1;
    const e = (h >> 10) & 31;
    const m = h & 1023;
    if (e === 31) return m ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    return sign * (e ? (1 + m / 1024) * 2 ** (e - 15) : m * 2 ** -24);
  });
}
