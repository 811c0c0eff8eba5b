import { type Args, at, make, type Outputs, only, roundEven } from './kit.js';

// Both steps in f32: which byte a value lands on depends on it.
export default function unitToImage(c: Args): Outputs {
  const x = c.ten('x');
  return only(
    'y',
    make(x.shape, (i) => {
      const v = Math.fround(Math.fround(at(x, i) + 1) * 127.5);
      return Number.isNaN(v) ? 0 : roundEven(Math.min(Math.max(v, 0), 255));
    }),
  );
}
