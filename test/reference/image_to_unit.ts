import { type Args, at, make, type Outputs, only } from './kit.js';

// Every step in f32, as the definition says.
export default function imageToUnit(c: Args): Outputs {
  const x = c.ten('x');
  return only(
    'y',
    make(x.shape, (i) => {
      const v = Math.fround(at(x, i) / 255);
      return Math.fround(Math.fround(v + v) - 1);
    }),
  );
}
