import { type Args, at, make, type Outputs, only, sigmoid } from './kit.js';

const K = Math.sqrt(2 / Math.PI);

function geluSlope(x: number): number {
  const t = Math.tanh(K * (x + 0.044715 * x ** 3));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * K * (1 + 3 * 0.044715 * x * x);
}

const SLOPES: Readonly<Record<string, (x: number) => number>> = {
  silu: (x) => sigmoid(x) * (1 + x * (1 - sigmoid(x))),
  gelu: geluSlope,
  exp: Math.exp,
  log: (x) => 1 / x,
  sqrt: (x) => 0.5 / Math.sqrt(x),
  rsqrt: (x) => -0.5 / x ** 1.5,
  tanh: (x) => 1 - Math.tanh(x) ** 2,
  sigmoid: (x) => sigmoid(x) * (1 - sigmoid(x)),
  abs: Math.sign,
  neg: () => -1,
  square: (x) => 2 * x,
  recip: (x) => -1 / (x * x),
};

export default function unaryGrad(c: Args): Outputs {
  const x = c.ten('x');
  const dy = c.ten('dy');
  const slope = SLOPES[c.str('fn')] as (x: number) => number;
  return only(
    'dx',
    make(x.shape, (i) => at(dy, i) * slope(at(x, i))),
  );
}
