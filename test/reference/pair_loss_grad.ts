import { type Args, at, make, type Outputs, only } from './kit.js';

export default function pairLossGrad(c: Args): Outputs {
  const x = c.ten('x');
  const y = c.ten('y');
  const factor = at(c.ten('dLoss'), 0) / x.data.length;
  return only(
    'dx',
    make(x.shape, (i) => {
      const diff = at(x, i) - at(y, i);
      return factor * (c.str('kind') === 'l1' ? Math.sign(diff) : 2 * diff);
    }),
  );
}
