import { type Args, at, type Outputs, only, zeros } from './kit.js';

export default function bincount(c: Args): Outputs {
  const y = zeros([c.num('n')]);
  for (const v of c.ten('idx').data) y.data[v] = at(y, v) + 1;
  return only('y', y);
}
