// Histograms as TensorBoard expects them: buckets that grow by a tenth from 1e-12 to 1e20, mirrored for negative values.
export interface Histogram {
  min: number;
  max: number;
  num: number;
  sum: number;
  sumSquares: number;
  /** Upper ends of the buckets, and how many values lie in each; runs of empty buckets are one. */
  limits: number[];
  counts: number[];
}

const POSITIVE: readonly number[] = (() => {
  const out: number[] = [];
  for (let v = 1e-12; v < 1e20; v *= 1.1) out.push(v);
  return out;
})();
const LIMITS: readonly number[] = [...POSITIVE.map((v) => -v).reverse(), ...POSITIVE, Number.MAX_VALUE];

/** Values that are not finite are left out. */
export function histogramOf(values: ArrayLike<number>): Histogram {
  const counts = new Float64Array(LIMITS.length);
  const h: Histogram = {
    min: Number.POSITIVE_INFINITY,
    max: Number.NEGATIVE_INFINITY,
    num: 0,
    sum: 0,
    sumSquares: 0,
    limits: [],
    counts: [],
  };
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (!Number.isFinite(v)) continue;
    h.min = Math.min(h.min, v);
    h.max = Math.max(h.max, v);
    h.num += 1;
    h.sum += v;
    h.sumSquares += v * v;
    counts[bucketOf(v)]! += 1;
  }
  if (h.num === 0) return { ...h, min: 0, max: 0, limits: [Number.MAX_VALUE], counts: [0] };
  for (let i = 0; i < LIMITS.length; i++) {
    const empty = counts[i] === 0;
    if (empty && h.counts.at(-1) === 0) h.limits[h.limits.length - 1] = LIMITS[i]!;
    else {
      h.limits.push(LIMITS[i]!);
      h.counts.push(counts[i]!);
    }
  }
  if (h.counts.at(-1) === 0 && h.counts.length > 1) {
    h.limits.pop();
    h.counts.pop();
  }
  return h;
}

/** First bucket whose upper end lies above v. */
function bucketOf(v: number): number {
  let [lo, hi] = [0, LIMITS.length - 1];
  while (lo < hi) {
    const mid = (lo + hi) >> 1;
    if (LIMITS[mid]! > v) hi = mid;
    else lo = mid + 1;
  }
  return lo;
}
