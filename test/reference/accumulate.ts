import { type Args, at, make, type Outputs, only } from './kit.js';

export default function accumulate(c: Args): Outputs {
  const y = c.ten('y');
  const x = c.ten('x');
  return only(
    'y',
    make(y.shape, (i) => at(y, i) * c.num('beta') + at(x, i) * c.num('alpha')),
  );
}
