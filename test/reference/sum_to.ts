import { type Args, at, coordinates, type Outputs, only, zeros } from './kit.js';

export default function sumTo(c: Args): Outputs {
  const x = c.ten('x');
  const y = zeros(c.dims('shape'));
  for (let i = 0; i < x.data.length; i++) {
    const index = coordinates(i, x.shape).slice(x.shape.length - y.shape.length);
    let to = 0;
    for (const [d, n] of y.shape.entries()) to = to * n + (n === 1 ? 0 : (index[d] as number));
    y.data[to] = at(y, to) + at(x, i);
  }
  return only('y', y);
}
