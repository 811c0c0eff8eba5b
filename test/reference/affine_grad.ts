import { type Args, at, make, type Outputs, only } from './kit.js';

export default function affineGrad(c: Args): Outputs {
  const x = c.ten('x');
  const dy = c.ten('dy');
  let margin = Number.POSITIVE_INFINITY;
  const dx = make(x.shape, (i) => {
    const t = at(x, i) * c.num('mul') + c.num('add');
    margin = Math.min(margin, Math.abs(t - c.num('lo')), Math.abs(t - c.num('hi')));
    return t >= c.num('lo') && t <= c.num('hi') ? at(dy, i) * c.num('mul') : 0;
  });
  return only('dx', dx, margin);
}
