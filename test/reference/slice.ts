import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function slice(c: Args): Outputs {
  const x = c.ten('x');
  const axis = c.num('axis');
  const shape = x.shape.with(axis, c.num('size'));
  return only(
    'y',
    make(shape, (i) => {
      const index = coordinates(i, shape);
      return pick(x, ...index.with(axis, (index[axis] as number) + c.num('start')));
    }),
  );
}
