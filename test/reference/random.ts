import { type Args, make, type Outputs, only } from './kit.js';
import { erf, erfinv, philox, uniform } from './philox.js';

export default function random(c: Args): Outputs {
  const [mean, std] = [c.num('mean'), c.num('std')];
  const cdf = (x: number): number => erf((x - mean) / std / Math.SQRT2);
  return only(
    'y',
    make(c.dims('shape'), (i) => {
      const block = Math.floor(i / 4);
      const words = philox(c.num('seedLo'), c.num('seedHi'), [block % 2 ** 32, Math.floor(block / 2 ** 32), c.num('stream'), 0x52]);
      const u = uniform(words[i % 4] as number);
      if (c.str('kind') === 'uniform') return mean + u * (std - mean);
      if (c.str('kind') === 'normal') return mean + std * Math.SQRT2 * erfinv(2 * u - 1);
      const v = cdf(-2) + u * (cdf(2) - cdf(-2));
      return Math.min(Math.max(mean + std * Math.SQRT2 * erfinv(v), -2), 2);
    }),
  );
}
