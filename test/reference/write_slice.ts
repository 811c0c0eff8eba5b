import { type Args, at, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function writeSlice(c: Args): Outputs {
  const dst = c.ten('dst');
  const src = c.ten('src');
  const axis = c.num('axis');
  const start = c.num('start');
  return only(
    'dst',
    make(dst.shape, (i) => {
      const index = coordinates(i, dst.shape);
      const v = (index[axis] as number) - start;
      return v >= 0 && v < (src.shape[axis] as number) ? pick(src, ...index.with(axis, v)) : at(dst, i);
    }),
  );
}
