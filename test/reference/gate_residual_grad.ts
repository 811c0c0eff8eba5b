import { type Args, at, coordinates, make, type Outputs, type Ten } from './kit.js';

export default function gateResidualGrad(c: Args): Outputs {
  const x = c.ten('x');
  const dy = c.ten('dy');
  const gate = c.ten('gate');
  const [Bg, G, N] = gate.shape as [number, number, number];
  const place = (i: number): number => {
    const [b, , j] = coordinates(i, x.shape) as [number, number, number];
    return ((Bg === 1 ? 0 : b) * G + c.num('gateAt')) * N + j;
  };
  const tensors: Record<string, Ten> = { dx: make(x.shape, (i) => at(gate, place(i)) * at(dy, i)) };
  const before = c.opt('dGate');
  if (before) {
    const dGate = make(before.shape, (i) => at(before, i));
    for (let i = 0; i < x.data.length; i++) dGate.data[place(i)] = at(dGate, place(i)) + at(x, i) * at(dy, i);
    tensors.dGate = dGate;
  }
  return { tensors };
}
