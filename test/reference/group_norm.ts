import { type Args, at, type Outputs, only, pick, silu, zeros } from './kit.js';

export default function groupNorm(c: Args): Outputs {
  const x = c.ten('x');
  const [gamma, beta] = [c.ten('gamma'), c.ten('beta')];
  const [B, h, w, C] = x.shape as [number, number, number, number];
  const width = C / c.num('groups');
  const y = zeros(x.shape);
  for (let b = 0; b < B; b++) {
    for (let g = 0; g < c.num('groups'); g++) {
      const index: number[] = [];
      for (let p = 0; p < h * w; p++) for (let k = 0; k < width; k++) index.push((b * h * w + p) * C + g * width + k);
      const mean = index.reduce((s, i) => s + at(x, i), 0) / index.length;
      const variance = index.reduce((s, i) => s + (at(x, i) - mean) ** 2, 0) / index.length;
      for (const i of index) {
        const v = ((at(x, i) - mean) / Math.sqrt(variance + c.num('eps'))) * pick(gamma, i % C) + pick(beta, i % C);
        y.data[i] = c.flag('silu') ? silu(v) : v;
      }
    }
  }
  return only('y', y);
}
