import { type Args, at, make, type Outputs, only } from './kit.js';

export default function cfgMix(c: Args): Outputs {
  const logits = c.ten('logits');
  const [twice, l, V] = logits.shape as [number, number, number];
  const B = twice / 2;
  return only(
    'y',
    make([B, l, V], (i) => {
      const t = at(c.ten('t'), Math.floor(i / (l * V)));
      return (1 + t) * at(logits, i) - t * at(logits, B * l * V + i);
    }),
  );
}
