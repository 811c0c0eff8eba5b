import { type Args, at, make, type Outputs, only, rowsOf } from './kit.js';

export default function softmaxGrad(c: Args): Outputs {
  const [y, dy] = [c.ten('y'), c.ten('dy')];
  const { rows, n } = rowsOf(y);
  const mean = new Float64Array(rows);
  for (let i = 0; i < rows * n; i++) mean[Math.floor(i / n)] = (mean[Math.floor(i / n)] as number) + at(y, i) * at(dy, i);
  return only(
    'dx',
    make(y.shape, (i) => c.num('scale') * at(y, i) * (at(dy, i) - (mean[Math.floor(i / n)] as number))),
  );
}
