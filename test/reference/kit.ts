// What every reference definition uses: tensors as plain float64 numbers, and typed access to the arguments of a call.
// The definitions are loops that follow the doc text of ops.json; speed does not matter, and no code is shared with the kernels.

export type Values = Float64Array;

/** Row-major values in float64, whatever the dtype on the engine. */
export interface Ten {
  readonly shape: readonly number[];
  readonly data: Values;
}

export type AttrMap = Readonly<Record<string, number | string | boolean | readonly number[]>>;

/** Outputs and inputs written in place, by name. */
export interface Outputs {
  readonly tensors: Readonly<Record<string, Ten>>;
  /** Where a discrete result was chosen: the smallest distance to the next choice, relative to the values compared. */
  readonly margin?: number;
  /** The data are the first elements of the results; what follows them is not defined. */
  readonly front?: boolean;
}

export type Reference = (c: Args) => Outputs;

export class Args {
  constructor(
    readonly inputs: Readonly<Record<string, Ten | undefined>>,
    readonly attrs: AttrMap,
    readonly dtypes: Readonly<Record<string, string>> = {},
  ) {}

  ten(name: string): Ten {
    const t = this.inputs[name];
    if (!t) throw new Error(`reference: input ${name} is missing`);
    return t;
  }
  opt(name: string): Ten | undefined {
    return this.inputs[name];
  }
  num(name: string): number {
    return this.attrs[name] as number;
  }
  str(name: string): string {
    return this.attrs[name] as string;
  }
  flag(name: string): boolean {
    return this.attrs[name] as boolean;
  }
  dims(name: string): readonly number[] {
    return this.attrs[name] as readonly number[];
  }
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

export function zeros(shape: readonly number[]): Ten {
  return { shape, data: new Float64Array(sizeOf(shape)) };
}

/** A tensor whose element i is f(i). */
export function make(shape: readonly number[], f: (i: number) => number): Ten {
  const t = zeros(shape);
  for (let i = 0; i < t.data.length; i++) t.data[i] = f(i);
  return t;
}

/** The value at a row-major index. */
export const at = (t: Ten, i: number): number => t.data[i] as number;

/** The value at coordinates. */
export function pick(t: Ten, ...index: number[]): number {
  let i = 0;
  for (let d = 0; d < t.shape.length; d++) i = i * (t.shape[d] as number) + (index[d] as number);
  return at(t, i);
}

/** Coordinates of a row-major index. */
export function coordinates(i: number, shape: readonly number[]): number[] {
  const c = new Array<number>(shape.length);
  for (let d = shape.length - 1; d >= 0; d--) {
    const n = shape[d] as number;
    c[d] = i % n;
    i = Math.floor(i / n);
  }
  return c;
}

/** Length of the last dim, and how many rows of it there are. */
export function rowsOf(t: Ten): { rows: number; n: number } {
  const n = t.shape.at(-1) as number;
  return { rows: t.data.length / n, n };
}

export const only = (name: string, t: Ten, margin?: number): Outputs => ({
  tensors: { [name]: t },
  ...(margin === undefined ? {} : { margin }),
});

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
export const silu = (x: number): number => x * sigmoid(x);
export const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

/** Half to even. */
export function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** Nearest number with the given mantissa bits, smallest normal exponent and greatest value; ties to even. */
function roundTo(x: number, mantissaBits: number, minExponent: number, overflow: number): number {
  if (!Number.isFinite(x) || x === 0) return x;
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), minExponent);
  // log2 may be off by one beside a power of two; the quantum of the true exponent is found by comparison.
  let e = exponent;
  if (Math.abs(x) >= 2 ** (e + 1)) e++;
  if (e > minExponent && Math.abs(x) < 2 ** e) e--;
  const quantum = 2 ** (e - mantissaBits);
  const y = roundEven(x / quantum) * quantum;
  return Math.abs(y) >= overflow ? Math.sign(x) * Number.POSITIVE_INFINITY : y;
}

/** The value as a dtype stores it; integers truncate and saturate. */
export function toDType(x: number, dtype: string): number {
  switch (dtype) {
    case 'f32':
      return Math.fround(x);
    case 'f16':
      return roundTo(Math.fround(x), 10, -14, 65536);
    case 'bf16':
      return roundTo(Math.fround(x), 7, -126, 2 ** 128);
    case 'i32':
      return Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), -(2 ** 31)), 2 ** 31 - 1);
    case 'u8':
      return Number.isNaN(x) ? 0 : Math.min(Math.max(Math.trunc(x), 0), 255);
    default:
      throw new Error(`reference: dtype ${dtype} is unknown`);
  }
}
