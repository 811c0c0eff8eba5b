import { type Args, at, type Outputs, only, zeros } from './kit.js';

export default function pairLoss(c: Args): Outputs {
  const x = c.ten('x');
  const y = c.ten('y');
  const loss = zeros([1]);
  for (let i = 0; i < x.data.length; i++) {
    const diff = at(x, i) - at(y, i);
    loss.data[0] = at(loss, 0) + (c.str('kind') === 'l1' ? Math.abs(diff) : diff * diff) / x.data.length;
  }
  return only('loss', loss);
}
