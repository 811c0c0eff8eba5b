import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function permute(c: Args): Outputs {
  const x = c.ten('x');
  const order = c.dims('order');
  const shape = order.map((d) => x.shape[d] as number);
  return only(
    'y',
    make(shape, (i) => {
      const from = new Array<number>(order.length);
      for (const [to, v] of coordinates(i, shape).entries()) from[order[to] as number] = v;
      return pick(x, ...from);
    }),
  );
}
