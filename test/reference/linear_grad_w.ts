import { type Args, at, make, type Outputs, pick } from './kit.js';

export default function linearGradW(c: Args): Outputs {
  const [x, dy, dw, dbias] = [c.ten('x'), c.ten('dy'), c.ten('dw'), c.opt('dbias')];
  const [B, l, K] = x.shape as [number, number, number];
  const alpha = c.num('alpha');
  const over = (f: (b: number, t: number) => number): number => {
    let s = 0;
    for (let b = 0; b < B; b++) for (let t = 0; t < l; t++) s += f(b, t);
    return alpha * s;
  };
  const w = make(dw.shape, (i) => at(dw, i) + over((b, t) => pick(dy, b, t, Math.floor(i / K)) * pick(x, b, t, i % K)));
  if (!dbias) return { tensors: { dw: w } };
  return { tensors: { dw: w, dbias: make(dbias.shape, (n) => at(dbias, n) + over((b, t) => pick(dy, b, t, n))) } };
}
