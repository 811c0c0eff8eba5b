import { type Args, at, coordinates, make, type Outputs, only, pick } from './kit.js';

export default function gateResidual(c: Args): Outputs {
  const x = c.ten('x');
  const gate = c.ten('gate');
  const residual = c.opt('residual');
  return only(
    'y',
    make(x.shape, (i) => {
      const [b, , j] = coordinates(i, x.shape) as [number, number, number];
      const g = pick(gate, gate.shape[0] === 1 ? 0 : b, c.num('gateAt'), j);
      return (residual ? at(residual, i) : 0) + g * at(x, i);
    }),
  );
}
