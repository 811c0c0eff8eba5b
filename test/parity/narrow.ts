// 16-bit activations: which variants of the declared tests are run, and what rounding may add to the error of a result.
import type { DType } from '../../ts/core/dtype.js';
import type { AttrValue, OpDecl } from '../../ts/core/types.js';
import type { Case, DeclaredOp, DeclaredTest } from './cases.js';

export type Narrow = 'f16' | 'bf16';
export const NARROW: readonly Narrow[] = ['f16', 'bf16'];
export const isNarrow = (dtype: string | undefined): dtype is Narrow => dtype === 'f16' || dtype === 'bf16';

export interface Variant {
  readonly label: string;
  readonly test: DeclaredTest;
}

/** Inputs whose dtype is chosen freely (the others repeat one of them) and that are activations. */
function activations(op: DeclaredOp, decl: OpDecl): string[] {
  return decl.inputs.filter((i) => typeof i.dtypes !== 'string' && op.in.find((d) => d.name === i.name)?.act).map((i) => i.name);
}

function change(test: DeclaredTest, dtypes: Readonly<Record<string, DType>>, out: DType | undefined): DeclaredTest {
  const attrs: Record<string, AttrValue> = { ...test.attrs, ...(out && { dtype: out }) };
  return { ...test, attrs, dtypes: { ...test.dtypes, ...dtypes } };
}

/**
 * Every activation alone in f16 and in bf16 is among the cases of each input; here all of them at once, on every test, and the mixes that
 * models use: 16 bits in, f32 out and the reverse; a residual stream that stays f32 beside 16-bit operands; 16-bit weights.
 */
export function narrowVariants(op: DeclaredOp, decl: OpDecl, tests: readonly DeclaredTest[]): Variant[] {
  const names = activations(op, decl);
  if (names.length === 0) return [];
  const chosen = decl.attrs.some((a) => a.name === 'dtype');
  const floats = tests.flatMap((test, i) => (names.some((name) => test.dtypes?.[name]) ? [] : [{ test, i }]));
  const of = (list: readonly string[], dtype: DType) => Object.fromEntries(list.map((name) => [name, dtype]));
  const out: Variant[] = [];
  for (const { test, i } of floats)
    for (const [n, d] of NARROW.entries())
      if (i === 0 || i % 2 === n) out.push({ label: `${i} all ${d}`, test: change(test, of(names, d), chosen ? d : undefined) });
  if (!chosen) return out;
  const weights = decl.inputs.filter((i) => i.name === 'w').map((i) => i.name);
  // The last of the tests with the most optional activations. Transforming a narrow weight rounds it: fused.test.ts has tolerances for that.
  const optional = (test: DeclaredTest) => names.filter((name) => test.with?.includes(name));
  const plain = floats.filter(({ test }) => !String(test.attrs?.algo).startsWith('winograd'));
  const rich = plain.reduce((a, b) => (optional(b.test).length >= optional(a.test).length ? b : a));
  for (const d of NARROW) {
    const other = d === 'f16' ? 'bf16' : 'f16';
    const add = (label: string, dtypes: Readonly<Record<string, DType>>, y: DType) =>
      out.push({ label: `${rich.i} ${label}`, test: change(rich.test, dtypes, y) });
    add(`f32 to ${d}`, {}, d);
    add(`${d} to ${other}`, of(names, d), other);
    if (optional(rich.test).length > 0) {
      add(`residual ${d} to ${d}`, of(optional(rich.test), d), d);
      add(`residual f32 to ${d}`, of([names[0] as string], d), d);
    }
    if (weights.length === 0) continue;
    add(`operands ${d}, residual and y f32`, of([names[0] as string, ...weights], d), 'f32');
    add(`everything ${d}`, of([...names, ...weights], d), d);
  }
  return out;
}

/** Half an ulp relative to the value, and the half of the smallest step that subnormal values have. */
const HALF_ULP: Readonly<Record<Narrow, { relative: number; least: number }>> = {
  f16: { relative: 2 ** -11, least: 2 ** -25 },
  bf16: { relative: 2 ** -8, least: 2 ** -134 },
};

/** What rounding a value within `error` of `want` to the dtype may move it by; 0 for dtypes that the result is not rounded to. */
export function rounding(want: number, dtype: DType, error: number): number {
  if (!isNarrow(dtype)) return 0;
  const { relative, least } = HALF_ULP[dtype];
  return Math.max(relative * (Math.abs(want) + error), least);
}

/** Terms that are added up per element of the result, for the ops that tensor cores compute. */
function terms(c: Case): number {
  const shape = (name: string): readonly number[] => c.inputs.find((i) => i.name === name)?.shape ?? [1];
  const size = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);
  switch (c.op.name) {
    case 'linear':
    case 'matmul':
      return shape(c.op.name === 'linear' ? 'x' : 'a')[2] ?? 1;
    case 'conv2d':
      return (shape('x')[3] ?? 1) * (c.attrs.kernel as number) ** 2;
    case 'linear_grad_w':
    case 'conv2d_grad_w':
      return size(shape('dy').slice(0, -1));
    default:
      return 0;
  }
}

/**
 * What tensor cores may add on a GPU, relative to the result's scale, where an operand has 16 bits. Products of 16-bit values are exact in
 * f32 (at most 11 + 11 bits); the hardware adds at least 8 of them at a time and cuts off below the last bit of f32, so that one ulp,
 * 2^-23 of the partial sum, is lost per group. Partial sums of terms with random signs are not larger than the largest result.
 */
export function tensorCores(c: Case): number {
  const narrow = c.inputs.some((i) => isNarrow(i.dtype) && ['x', 'dy', 'a', 'w'].includes(i.name));
  return narrow ? Math.ceil(terms(c) / 8) * 2 ** -23 : 0;
}
