import { type Args, at, gelu, make, type Outputs, only, sigmoid, silu } from './kit.js';

const FUNCTIONS: Readonly<Record<string, (x: number) => number>> = {
  silu,
  gelu,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  tanh: Math.tanh,
  sigmoid,
  abs: Math.abs,
  neg: (x) => -x,
  square: (x) => x * x,
  recip: (x) => 1 / x,
};

export default function unary(c: Args): Outputs {
  const x = c.ten('x');
  const f = FUNCTIONS[c.str('fn')] as (x: number) => number;
  return only(
    'y',
    make(x.shape, (i) => f(at(x, i))),
  );
}
