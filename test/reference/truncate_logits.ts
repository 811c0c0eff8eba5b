import { type Args, at, type Outputs, only, rowsOf, zeros } from './kit.js';

/** Removes what top-k and top-p remove from one row, in place; returns the distance of the nearest undecided value. */
function truncate(row: Float64Array, k: number, p: number): number {
  let margin = Number.POSITIVE_INFINITY;
  const low = Number.NEGATIVE_INFINITY;
  if (k > 0 && k < row.length) {
    const sorted = Float64Array.from(row).sort().reverse();
    const last = sorted[k - 1] as number;
    margin = last - (sorted[k] as number);
    for (let i = 0; i < row.length; i++) if ((row[i] as number) < last) row[i] = low;
  }
  if (p <= 0) return margin;
  // From the smallest probability up: what lies within the first 1 - p of the mass goes; the greatest always stays.
  const max = Math.max(...row);
  const total = row.reduce((s, v) => s + Math.exp(v - max), 0);
  const order = Array.from(row.keys()).sort((a, b) => (row[a] as number) - (row[b] as number));
  let sum = 0;
  for (const [rank, i] of order.entries()) {
    const mass = Math.exp((row[i] as number) - max) / total;
    if (mass === 0 || rank === order.length - 1) continue;
    sum += mass;
    margin = Math.min(margin, Math.abs(sum - (1 - p)));
    if (sum <= 1 - p) row[i] = low;
  }
  return margin;
}

export default function truncateLogits(c: Args): Outputs {
  const logits = c.ten('logits');
  const { rows, n } = rowsOf(logits);
  const y = zeros(logits.shape);
  const l = logits.shape[1] as number;
  let margin = Number.POSITIVE_INFINITY;
  for (let r = 0; r < rows; r++) {
    const row = logits.data.slice(r * n, (r + 1) * n);
    const b = Math.floor(r / l);
    margin = Math.min(margin, truncate(row, at(c.ten('topK'), b), at(c.ten('topP'), b)));
    y.data.set(row, r * n);
  }
  return only('y', y, margin);
}
