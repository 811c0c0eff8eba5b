import { type Args, at, type Outputs, only, rowsOf, zeros } from './kit.js';

export default function l2Normalize(c: Args): Outputs {
  const x = c.ten('x');
  const { rows, n } = rowsOf(x);
  const y = zeros(x.shape);
  for (let r = 0; r < rows; r++) {
    let square = 0;
    for (let i = 0; i < n; i++) square += at(x, r * n + i) ** 2;
    const length = Math.max(Math.sqrt(square), c.num('eps'));
    for (let i = 0; i < n; i++) y.data[r * n + i] = at(x, r * n + i) / length;
  }
  return only('y', y);
}
