import { type Args, at, make, type Outputs, only } from './kit.js';

export default function vqLookup(c: Args): Outputs {
  const z = c.ten('z');
  const codes = c.ten('codebook');
  const [N, C] = z.shape as [number, number];
  const V = codes.shape[0] as number;
  const length = (t: typeof z, row: number): number => Math.sqrt(t.data.subarray(row * C, (row + 1) * C).reduce((s, v) => s + v * v, 0));
  let margin = Number.POSITIVE_INFINITY;
  const idx = make([N], (i) => {
    let best = Number.POSITIVE_INFINITY;
    let second = best;
    let found = 0;
    for (let v = 0; v < V; v++) {
      let cost = 0;
      if (c.flag('cosine')) {
        for (let k = 0; k < C; k++) cost -= at(z, i * C + k) * at(codes, v * C + k);
        cost /= length(z, i) * length(codes, v);
      } else {
        for (let k = 0; k < C; k++) cost += (at(z, i * C + k) - at(codes, v * C + k)) ** 2;
      }
      if (cost < best) [best, second, found] = [cost, best, v];
      else second = Math.min(second, cost);
    }
    margin = Math.min(margin, (second - best) / (c.flag('cosine') ? 1 : 1 + length(z, i) ** 2));
    return found;
  });
  return only('idx', idx, margin);
}
