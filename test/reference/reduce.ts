import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

function reduceLine(fn: string, line: readonly number[]): number {
  const sum = line.reduce((s, v) => s + v, 0);
  if (fn === 'sum') return sum;
  if (fn === 'mean') return sum / line.length;
  if (fn === 'min') return line.reduce((m, v) => Math.min(m, v));
  const max = line.reduce((m, v) => Math.max(m, v));
  return fn === 'max' ? max : line.indexOf(max);
}

export default function reduce(c: Args): Outputs {
  const x = c.ten('x');
  const axis = c.num('axis') < 0 ? c.num('axis') + x.shape.length : c.num('axis');
  const n = x.shape[axis] as number;
  const shape = x.shape.toSpliced(axis, 1);
  return only(
    'y',
    make(shape, (i) => {
      const index = coordinates(i, shape);
      const line = Array.from({ length: n }, (_, j) => pick(x, ...index.toSpliced(axis, 0, j)));
      return reduceLine(c.str('fn'), line);
    }),
  );
}
