import { type Args, at, type Outputs, only, zeros } from './kit.js';

export default function gradStats(c: Args): Outputs {
  const g = c.ten('g');
  const offsets = c.ten('offsets');
  const stats = zeros([offsets.data.length - 1, 2]);
  for (let s = 0; s + 1 < offsets.data.length; s++) {
    for (let i = at(offsets, s); i < at(offsets, s + 1); i++) {
      const v = at(g, i);
      if (Number.isFinite(v)) stats.data[2 * s] = at(stats, 2 * s) + v * v;
      else stats.data[2 * s + 1] = at(stats, 2 * s + 1) + 1;
    }
  }
  return only('stats', stats);
}
