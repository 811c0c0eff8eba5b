import { type Args, at, type Outputs, pick, type Ten, zeros } from './kit.js';

export default function layerNormGrad(c: Args): Outputs {
  const [x, dy, mod, dMod] = [c.ten('x'), c.ten('dy'), c.opt('mod'), c.opt('dMod')];
  const [B, l, C] = x.shape as [number, number, number];
  const dx = zeros(x.shape);
  const sums: Ten | undefined = dMod && { shape: dMod.shape, data: dMod.data.slice() };
  const row = (t: Ten, r: number, index: string): number => {
    const b = t.shape[0] === 1 ? 0 : Math.floor(r / l);
    return (b * (t.shape[1] as number) + c.num(index)) * C;
  };
  for (let r = 0; r < B * l; r++) {
    let mean = 0;
    let variance = 0;
    for (let k = 0; k < C; k++) mean += at(x, r * C + k) / C;
    for (let k = 0; k < C; k++) variance += (at(x, r * C + k) - mean) ** 2 / C;
    const rstd = 1 / Math.sqrt(variance + c.num('eps'));
    const normal = (k: number): number => (at(x, r * C + k) - mean) * rstd;
    const inner = (k: number): number => at(dy, r * C + k) * (mod ? 1 + at(mod, row(mod, r, 'scaleAt') + k) : 1);
    let level = 0;
    let slope = 0;
    for (let k = 0; k < C; k++) {
      level += inner(k) / C;
      slope += (inner(k) * normal(k)) / C;
    }
    for (let k = 0; k < C; k++) {
      dx.data[r * C + k] = rstd * (inner(k) - level - normal(k) * slope);
      if (!sums) continue;
      sums.data[row(sums, r, 'scaleAt') + k] = at(sums, row(sums, r, 'scaleAt') + k) + pick(dy, Math.floor(r / l), r % l, k) * normal(k);
      sums.data[row(sums, r, 'shiftAt') + k] = at(sums, row(sums, r, 'shiftAt') + k) + pick(dy, Math.floor(r / l), r % l, k);
    }
  }
  return { tensors: { dx, ...(sums ? { dMod: sums } : {}) } };
}
