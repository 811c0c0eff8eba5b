// A seeded random start of the quantizer of an untrained VQVAE whose features have been measured: codes follow the second moment of the
// features, with lengths that cover whole features and late residuals; phi starts near the identity. Nothing is trained.
import type { DType } from '../core/dtype.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { WeightInfo, WeightSource } from '../nn/index.js';

/** Second moment E[f f^T] of rows of c features, row-major [c, c]. */
export function secondMoment(rows: Float32Array, c: number): Float64Array {
  const m = new Float64Array(c * c);
  const n = rows.length / c;
  for (let r = 0; r < n; r++) {
    for (let i = 0; i < c; i++) {
      const x = rows[r * c + i]!;
      for (let j = 0; j <= i; j++) m[i * c + j]! += x * rows[r * c + j]!;
    }
  }
  for (let i = 0; i < c; i++) for (let j = 0; j <= i; j++) m[j * c + i] = m[i * c + j]! /= n;
  return m;
}

/** Lower Cholesky factor of a symmetric matrix, with a small ridge. */
export function cholesky(m: Float64Array, c: number): Float64Array {
  const l = new Float64Array(c * c);
  let trace = 0;
  for (let i = 0; i < c; i++) trace += m[i * c + i]!;
  const ridge = (1e-6 * trace) / c + 1e-12;
  for (let i = 0; i < c; i++) {
    for (let j = 0; j <= i; j++) {
      let s = m[i * c + j]! + (i === j ? ridge : 0);
      for (let k = 0; k < j; k++) s -= l[i * c + k]! * l[j * c + k]!;
      l[i * c + j] = i === j ? Math.sqrt(Math.max(s, ridge)) : s / l[j * c + j]!;
    }
  }
  return l;
}

const LONGEST = 1.2;
const SHORTEST = 0.25;

/** Code v = r_v L g_v with g normal [V, c]; r_v falls geometrically from the first code to the last. */
export function spreadCodes(normal: Float32Array, factor: Float64Array, c: number): Float32Array {
  const V = normal.length / c;
  const codes = new Float32Array(normal.length);
  for (let v = 0; v < V; v++) {
    const r = LONGEST * (SHORTEST / LONGEST) ** (v / Math.max(1, V - 1));
    for (let i = 0; i < c; i++) {
      let s = 0;
      for (let k = 0; k <= i; k++) s += factor[i * c + k]! * normal[v * c + k]!;
      codes[v * c + i] = r * s;
    }
  }
  return codes;
}

/** A 3x3 convolution near the identity: the identity plus a share of the random weights [c, c, 3, 3]. */
export function nearIdentity(weights: Float32Array, c: number, share: number): Float32Array {
  const out = weights.map((w) => w * share);
  for (let o = 0; o < c; o++) out[(o * c + o) * 9 + 4]! += 1;
  return out;
}

/** Another source with some tensors replaced by given f32 values of the same shape. */
export class OverlaySource implements WeightSource {
  constructor(
    private readonly base: WeightSource,
    private readonly values: ReadonlyMap<string, Float32Array>,
  ) {}

  get path(): string {
    return this.base.path;
  }
  keys(): Iterable<string> {
    return this.base.keys();
  }
  has(key: string): boolean {
    return this.base.has(key);
  }
  info(key: string): WeightInfo {
    return this.base.info(key);
  }
  load(engine: Engine, key: string, options?: { dtype?: DType }): Tensor | Promise<Tensor> {
    const data = this.values.get(key);
    return data ? engine.tensor(data, this.base.info(key).shape) : this.base.load(engine, key, options);
  }
}

/** |f - g| / |f|, Euclidean. */
export function relativeDistance(f: Float32Array, g: Float32Array): number {
  let d = 0;
  let n = 0;
  for (let i = 0; i < f.length; i++) {
    d += (f[i]! - g[i]!) ** 2;
    n += f[i]! ** 2;
  }
  return Math.sqrt(d / n);
}
