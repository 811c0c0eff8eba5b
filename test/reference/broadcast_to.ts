import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function broadcastTo(c: Args): Outputs {
  const x = c.ten('x');
  const shape = c.dims('shape');
  return only(
    'y',
    make(shape, (i) => {
      const index = coordinates(i, shape).slice(shape.length - x.shape.length);
      return pick(x, ...index.map((v, d) => (x.shape[d] === 1 ? 0 : v)));
    }),
  );
}
