import { type Args, make, type Outputs, only, pick, toDType } from './kit.js';

export default function linearPack(c: Args): Outputs {
  const w = c.ten('w');
  const turned = c.flag('transpose');
  const [N, K] = (turned ? [w.shape[1], w.shape[0]] : w.shape) as [number, number];
  return only(
    'packed',
    make([Math.ceil(N / 16), K, 16], (i) => {
      const n = Math.floor(i / (K * 16)) * 16 + (i % 16);
      const k = Math.floor(i / 16) % K;
      return n < N ? toDType(turned ? pick(w, k, n) : pick(w, n, k), c.str('dtype')) : 0;
    }),
  );
}
