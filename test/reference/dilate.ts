import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function dilate(c: Args): Outputs {
  const x = c.ten('x');
  const [B, h, w, C] = x.shape as [number, number, number, number];
  const stride = c.num('stride');
  const shape = [B, (h - 1) * stride + 1, (w - 1) * stride + 1, C];
  return only(
    'y',
    make(shape, (i) => {
      const [b, y, z, k] = coordinates(i, shape) as [number, number, number, number];
      return y % stride === 0 && z % stride === 0 ? pick(x, b, y / stride, z / stride, k) : 0;
    }),
  );
}
