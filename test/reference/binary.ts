import { type Args, coordinates, make, type Outputs, only, pick, type Ten } from './kit.js';

const FUNCTIONS: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  max: Math.max,
  min: Math.min,
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
};

// NumPy: dims are aligned at the end, a dim of 1 is repeated.
function operand(t: Ten, index: readonly number[]): number {
  const own = index.slice(index.length - t.shape.length).map((v, d) => (t.shape[d] === 1 ? 0 : v));
  return pick(t, ...own);
}

// Integers: a division truncates and gives 0 for a zero divisor, the rest wraps.
function wholeNumber(v: number): number {
  return Number.isFinite(v) ? Math.trunc(v) | 0 : 0;
}

export default function binary(c: Args): Outputs {
  const a = c.ten('a');
  const b = c.ten('b');
  const f = FUNCTIONS[c.str('fn')] as (a: number, b: number) => number;
  const integer = c.dtypes.a === 'i32';
  const rank = Math.max(a.shape.length, b.shape.length);
  const shape = Array.from({ length: rank }, (_, i) =>
    Math.max(a.shape[i - rank + a.shape.length] ?? 1, b.shape[i - rank + b.shape.length] ?? 1),
  );
  return only(
    'y',
    make(shape, (i) => {
      const index = coordinates(i, shape);
      const v = f(operand(a, index), operand(b, index));
      return integer ? wholeNumber(v) : v;
    }),
  );
}
