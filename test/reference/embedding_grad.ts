import { type Args, at, make, type Outputs, only } from './kit.js';

export default function embeddingGrad(c: Args): Outputs {
  const idx = c.ten('idx');
  const dy = c.ten('dy');
  const table = c.ten('dTable');
  const C = table.shape[1] as number;
  const sum = make(table.shape, (i) => at(table, i));
  for (let i = 0; i < dy.data.length; i++) {
    const to = at(idx, Math.floor(i / C)) * C + (i % C);
    sum.data[to] = at(sum, to) + at(dy, i);
  }
  return only('dTable', sum);
}
