import { type Args, at, make, type Outputs, only, toDType } from './kit.js';

export default function cast(c: Args): Outputs {
  const x = c.ten('x');
  return only(
    'y',
    make(x.shape, (i) => toDType(at(x, i), c.str('dtype'))),
  );
}
