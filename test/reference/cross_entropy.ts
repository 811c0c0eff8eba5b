import { type Args, at, make, type Outputs, only, rowsOf } from './kit.js';

export default function crossEntropy(c: Args): Outputs {
  const [x, target, smooth] = [c.ten('logits'), c.ten('target'), c.num('labelSmooth')];
  const { n } = rowsOf(x);
  return only(
    'loss',
    make(target.shape, (r) => {
      const row = x.data.subarray(r * n, (r + 1) * n);
      const max = row.reduce((m, v) => Math.max(m, v), Number.NEGATIVE_INFINITY);
      const log = Math.log(row.reduce((s, v) => s + Math.exp(v - max), 0)) + max;
      const mean = row.reduce((s, v) => s + (v - log) / n, 0);
      return -(1 - smooth) * ((row[at(target, r)] as number) - log) - smooth * mean;
    }),
  );
}
