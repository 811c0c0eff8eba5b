import { type Args, at, type Outputs, only, rowsOf, zeros } from './kit.js';

export default function l2NormalizeGrad(c: Args): Outputs {
  const [x, dy] = [c.ten('x'), c.ten('dy')];
  const { rows, n } = rowsOf(x);
  const dx = zeros(x.shape);
  for (let r = 0; r < rows; r++) {
    let squares = 0;
    let along = 0;
    for (let i = r * n; i < (r + 1) * n; i++) {
      squares += at(x, i) ** 2;
      along += at(x, i) * at(dy, i);
    }
    const norm = Math.sqrt(squares);
    for (let i = r * n; i < (r + 1) * n; i++) {
      dx.data[i] = norm > c.num('eps') ? at(dy, i) / norm - (at(x, i) * along) / norm ** 3 : at(dy, i) / c.num('eps');
    }
  }
  return only('dx', dx);
}
