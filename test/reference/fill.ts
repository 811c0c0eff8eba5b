import { type Args, make, type Outputs, only, toDType } from './kit.js';

export default function fill(c: Args): Outputs {
  const value = toDType(c.num('value'), c.str('dtype'));
  return only(
    'y',
    make(c.dims('shape'), () => value),
  );
}
