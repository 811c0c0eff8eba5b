import { type Args, at, type Outputs, only, rowsOf, zeros } from './kit.js';

export default function softmax(c: Args): Outputs {
  const x = c.ten('x');
  const { rows, n } = rowsOf(x);
  const y = zeros(x.shape);
  for (let r = 0; r < rows; r++) {
    let max = Number.NEGATIVE_INFINITY;
    let sum = 0;
    for (let i = 0; i < n; i++) max = Math.max(max, at(x, r * n + i) * c.num('scale'));
    for (let i = 0; i < n; i++) sum += Math.exp(at(x, r * n + i) * c.num('scale') - max);
    for (let i = 0; i < n; i++) y.data[r * n + i] = Math.exp(at(x, r * n + i) * c.num('scale') - max) / sum;
  }
  return only('y', y);
}
