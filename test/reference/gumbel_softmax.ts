import { Args, at, make, type Outputs, pick, type Ten } from './kit.js';
import { philox, uniform } from './philox.js';
import softmax from './softmax.js';

function noise(shape: readonly number[], seed: Ten, scale: number): Ten {
  const [, l, V] = shape as [number, number, number];
  return make(shape, (i) => {
    const b = Math.floor(i / (l * V));
    const v = i % V;
    const words = philox(pick(seed, b, 0), pick(seed, b, 1), [
      Math.floor(i / V) % l,
      scale,
      pick(seed, b, 2),
      0x47000000 + Math.floor(v / 4),
    ]);
    return -Math.log(-Math.log(uniform(words[v % 4] as number)));
  });
}

export default function gumbelSoftmax(c: Args): Outputs {
  const logits = c.ten('logits');
  const g = c.opt('gumbel') ?? noise(logits.shape, c.ten('seed'), c.num('scale'));
  const x = make(logits.shape, (i) => (at(logits, i) * c.num('mul') + at(g, i)) / c.num('tau'));
  return softmax(new Args({ x }, { scale: 1 }));
}
