import { adam, gradientFactor, parameters } from './adam.js';
import { type Args, at, make, type Outputs } from './kit.js';

export default function adamw(c: Args): Outputs {
  const grad = c.ten('grad');
  const [m0, v0] = [c.ten('m'), c.ten('v')];
  const master = c.opt('master');
  const factor = gradientFactor(c);
  if (factor === undefined) return { tensors: { param: c.ten('param'), m: m0, v: v0, ...(master && { master }) } };
  const step = (i: number, p: number): [number, number, number] => adam(c, factor, p, at(grad, i), at(m0, i), at(v0, i));
  const { tensors, margin } = parameters(c, (i, p) => step(i, p)[0]);
  const before = master ?? c.ten('param');
  const m = make(m0.shape, (i) => step(i, at(before, i))[1]);
  const v = make(v0.shape, (i) => step(i, at(before, i))[2]);
  return { tensors: { ...tensors, m, v }, margin };
}
