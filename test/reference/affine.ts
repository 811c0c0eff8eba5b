import { type Args, at, make, type Outputs, only } from './kit.js';

export default function affine(c: Args): Outputs {
  const x = c.ten('x');
  return only(
    'y',
    make(x.shape, (i) => Math.min(Math.max(at(x, i) * c.num('mul') + c.num('add'), c.num('lo')), c.num('hi'))),
  );
}
