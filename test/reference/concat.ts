import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function concat(c: Args): Outputs {
  const a = c.ten('a');
  const b = c.ten('b');
  const axis = c.num('axis');
  const cut = a.shape[axis] as number;
  const shape = a.shape.with(axis, cut + (b.shape[axis] as number));
  return only(
    'y',
    make(shape, (i) => {
      const index = coordinates(i, shape);
      const v = index[axis] as number;
      return v < cut ? pick(a, ...index) : pick(b, ...index.with(axis, v - cut));
    }),
  );
}
