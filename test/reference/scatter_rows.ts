import { type Args, at, make, type Outputs, only } from './kit.js';

export default function scatterRows(c: Args): Outputs {
  const dst = c.ten('dst');
  const idx = c.ten('idx');
  const src = c.ten('src');
  const C = dst.shape[1] as number;
  const y = make(dst.shape, (i) => at(dst, i));
  for (let i = 0; i < src.data.length; i++) y.data[at(idx, Math.floor(i / C)) * C + (i % C)] = at(src, i);
  return only('dst', y);
}
