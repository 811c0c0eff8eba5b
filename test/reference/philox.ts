// Philox4x32-10 (Salmon et al., SC 2011) in BigInt, the uniform number of a word, and erf with its inverse in float64.
const M0 = 0xd2511f53n;
const M1 = 0xcd9e8d57n;
const MASK = 0xffffffffn;

export type Words = readonly [number, number, number, number];

/** Four 32-bit words for a key (lo, hi) and a counter. */
export function philox(lo: number, hi: number, counter: Words): Words {
  let [a, b, c, d] = counter.map((v) => BigInt(v >>> 0)) as [bigint, bigint, bigint, bigint];
  let k0 = BigInt(lo >>> 0);
  let k1 = BigInt(hi >>> 0);
  for (let round = 0; round < 10; round++) {
    const p = M0 * a;
    const q = M1 * c;
    [a, b, c, d] = [(q >> 32n) ^ b ^ k0, q & MASK, (p >> 32n) ^ d ^ k1, p & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [Number(a), Number(b), Number(c), Number(d)];
}

/** (0, 1) */
export const uniform = (word: number): number => (word + 0.5) / 2 ** 32;

/** erf by its Taylor series (|x| < 3) or the continued fraction of erfc; error below 1e-15. */
export function erf(x: number): number {
  const z = Math.abs(x);
  if (z < 3) {
    let term = z;
    let sum = z;
    for (let n = 1; n < 200 && Math.abs(term) > 1e-18 * sum; n++) {
      term *= (-z * z) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  return Math.sign(x) * (1 - erfcLarge(z));
}

function erfcLarge(z: number): number {
  let f = z;
  for (let k = 120; k >= 1; k--) f = z + k / 2 / f;
  return Math.exp(-z * z) / Math.sqrt(Math.PI) / f;
}

/** x with erf(x) = y, by bisection; y is given with 1 - |y| where that is known more precisely. */
export function erfinv(y: number, rest = 1 - Math.abs(y)): number {
  let lo = 0;
  let hi = 6;
  for (let i = 0; i < 80; i++) {
    const mid = (lo + hi) / 2;
    const below = mid < 3 ? erf(mid) < Math.abs(y) : erfcLarge(mid) > rest;
    if (below) lo = mid;
    else hi = mid;
  }
  return (Math.sign(y) * (lo + hi)) / 2;
}
