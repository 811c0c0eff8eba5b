import { type Args, at, make, type Outputs, only, pick, rowsOf } from './kit.js';
import { philox, uniform } from './philox.js';

export default function multinomial(c: Args): Outputs {
  const probs = c.ten('probs');
  const seed = c.ten('seed');
  const [B, l] = probs.shape as [number, number];
  const { n } = rowsOf(probs);
  let margin = Number.POSITIVE_INFINITY;
  const idx = make([B, l], (r) => {
    const b = Math.floor(r / l);
    const row = probs.data.subarray(r * n, (r + 1) * n);
    const total = row.reduce((s, v) => s + v, 0);
    const u = uniform(philox(pick(seed, b, 0), pick(seed, b, 1), [r % l, c.num('scale'), pick(seed, b, 2), 0])[0]);
    let sum = 0;
    let found = -1;
    for (let i = 0; i < n; i++) {
      if (at(probs, r * n + i) === 0) continue;
      sum += at(probs, r * n + i);
      margin = Math.min(margin, Math.abs(sum / total - u));
      if (found < 0 && sum > u * total) found = i;
    }
    return found;
  });
  return only('idx', idx, margin);
}
