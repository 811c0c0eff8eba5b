import { type Args, at, make, type Outputs, only, pick } from './kit.js';

export default function embedding(c: Args): Outputs {
  const table = c.ten('table');
  const idx = c.ten('idx');
  const C = table.shape[1] as number;
  return only(
    'y',
    make([...idx.shape, C], (i) => pick(table, at(idx, Math.floor(i / C)), i % C)),
  );
}
