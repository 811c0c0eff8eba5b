import { type Args, at, type Outputs, only, rowsOf, zeros } from './kit.js';

export default function crossEntropyGrad(c: Args): Outputs {
  const [x, target, dLoss, smooth] = [c.ten('logits'), c.ten('target'), c.ten('dLoss'), c.num('labelSmooth')];
  const { rows, n } = rowsOf(x);
  const dx = zeros(x.shape);
  for (let r = 0; r < rows; r++) {
    let max = Number.NEGATIVE_INFINITY;
    let sum = 0;
    for (let i = 0; i < n; i++) max = Math.max(max, at(x, r * n + i));
    for (let i = 0; i < n; i++) sum += Math.exp(at(x, r * n + i) - max);
    for (let i = 0; i < n; i++) {
      const wanted = (i === at(target, r) ? 1 - smooth : 0) + smooth / n;
      dx.data[r * n + i] = at(dLoss, r) * (Math.exp(at(x, r * n + i) - max) / sum - wanted);
    }
  }
  return only('dLogits', dx);
}
