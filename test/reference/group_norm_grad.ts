import { type Args, at, type Outputs, pick, sigmoid, type Ten, zeros } from './kit.js';

const copy = (t: Ten | undefined): Ten | undefined => t && { shape: t.shape, data: t.data.slice() };

export default function groupNormGrad(c: Args): Outputs {
  const [x, dy, gamma, beta] = [c.ten('x'), c.ten('dy'), c.ten('gamma'), c.ten('beta')];
  const [dGamma, dBeta] = [copy(c.opt('dGamma')), copy(c.opt('dBeta'))];
  const [B, h, w, C] = x.shape as [number, number, number, number];
  const width = C / c.num('groups');
  const dx = zeros(x.shape);
  for (let b = 0; b < B; b++) {
    for (let g = 0; g < c.num('groups'); g++) {
      const index: number[] = [];
      for (let p = 0; p < h * w; p++) for (let k = 0; k < width; k++) index.push((b * h * w + p) * C + g * width + k);
      const n = index.length;
      const mean = index.reduce((s, i) => s + at(x, i), 0) / n;
      const variance = index.reduce((s, i) => s + (at(x, i) - mean) ** 2, 0) / n;
      const rstd = 1 / Math.sqrt(variance + c.num('eps'));
      const normal = index.map((i) => (at(x, i) - mean) * rstd);
      const dz = index.map((i, j) => {
        if (!c.flag('silu')) return at(dy, i);
        const z = (normal[j] as number) * pick(gamma, i % C) + pick(beta, i % C);
        const s = sigmoid(z);
        return at(dy, i) * (s + z * s * (1 - s));
      });
      const inner = index.map((i, j) => (dz[j] as number) * pick(gamma, i % C));
      const level = inner.reduce((s, v) => s + v, 0) / n;
      const slope = inner.reduce((s, v, j) => s + v * (normal[j] as number), 0) / n;
      index.forEach((i, j) => {
        dx.data[i] = rstd * ((inner[j] as number) - level - (normal[j] as number) * slope);
        if (dGamma) dGamma.data[i % C] = at(dGamma, i % C) + (dz[j] as number) * (normal[j] as number);
        if (dBeta) dBeta.data[i % C] = at(dBeta, i % C) + (dz[j] as number);
      });
    }
  }
  return { tensors: { dx, ...(dGamma && { dGamma }), ...(dBeta && { dBeta }) } };
}
