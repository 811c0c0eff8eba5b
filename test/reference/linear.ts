import { type Args, at, gelu, make, type Outputs, only, pick, silu } from './kit.js';

const ACTS: Readonly<Record<string, (x: number) => number>> = { none: (x) => x, gelu, silu };

/** w is the weight [N,K] before packing. */
export default function linear(c: Args): Outputs {
  const x = c.ten('x');
  const w = c.ten('w');
  const bias = c.opt('bias');
  const gate = c.opt('gate');
  const residual = c.opt('residual');
  const [B, l, K] = x.shape as [number, number, number];
  const n = c.num('n');
  const act = ACTS[c.str('act')] as (x: number) => number;
  return only(
    'y',
    make([B, l, n], (i) => {
      const b = Math.floor(i / (l * n));
      const row = Math.floor(i / n) * K;
      const j = i % n;
      let s = bias ? at(bias, j) : 0;
      for (let k = 0; k < K; k++) s += at(x, row + k) * at(w, j * K + k);
      const g = gate ? pick(gate, gate.shape[0] === 1 ? 0 : b, c.num('gateAt'), j) : 1;
      return (residual ? at(residual, i) : 0) + g * act(s);
    }),
  );
}
