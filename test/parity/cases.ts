// Turns the tests that ops.json declares into cases with shapes, dtypes and attributes, and adds others: random shapes, the other dtypes.
import { readFileSync } from 'node:fs';
import type { DType } from '../../ts/core/dtype.js';
import { infer, resolveAttrs, sizeOf } from '../../ts/core/shapes.js';
import type { AttrValue, Dims, NumericAttrs, OpDecl, TensorRef } from '../../ts/core/types.js';
import { OPS } from '../../ts/gen/ops.js';
import { Draw } from './draw.js';
import { narrowVariants } from './narrow.js';

export interface DeclaredTest {
  readonly dims?: Readonly<Record<string, number | readonly number[]>>;
  readonly shapes?: Readonly<Record<string, readonly number[]>>;
  readonly conv?: { readonly B: number; readonly h: number; readonly w: number; readonly I: number };
  readonly attrs?: Readonly<Record<string, AttrValue>>;
  readonly with?: readonly string[];
  readonly dtypes?: Readonly<Record<string, DType>>;
  readonly range?: readonly [number, number];
  readonly intRange?: Readonly<Record<string, readonly [number, number]>>;
  readonly values?: Readonly<Record<string, readonly number[]>>;
  readonly levels?: readonly number[];
  readonly tol?: number;
}

export interface DeclaredOp {
  readonly name: string;
  readonly tol: number;
  readonly in: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly optional?: boolean;
    readonly mut?: boolean;
    readonly act?: boolean;
  }[];
  readonly out: readonly { readonly name: string }[];
  readonly tests?: readonly DeclaredTest[];
}

/** An input as it is drawn: linear and conv2d draw their weights before packing. */
export interface CaseInput {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly packed?: 'linear' | 'conv';
}

export interface Case {
  readonly op: DeclaredOp;
  readonly decl: OpDecl;
  readonly label: string;
  readonly test: DeclaredTest;
  readonly inputs: readonly CaseInput[];
  /** With defaults; 32-bit floats as the command carries them. */
  readonly attrs: Readonly<Record<string, AttrValue>>;
  readonly tol: number;
  /** The reference gives the result before it is rounded to a 16-bit output. */
  readonly rounds: boolean;
}

const file = new URL('../../native/abi/ops.json', import.meta.url);
export const DECLARED: readonly DeclaredOp[] = (JSON.parse(readFileSync(file, 'utf8')) as { ops: DeclaredOp[] }).ops;

export const camel = (s: string): string => s.replace(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());

export function declarationOf(name: string): OpDecl {
  const decl = (OPS as Readonly<Record<string, OpDecl>>)[camel(name)];
  if (!decl) throw new Error(`${name} is not in ts/gen/ops.ts`);
  return decl;
}

const ref = (shape: readonly number[], dtype: DType): TensorRef => ({ slot: 0, generation: 0, shape, dtype });

function attributes(decl: OpDecl, test: DeclaredTest): Record<string, AttrValue> {
  const attrs = { ...resolveAttrs(decl, test.attrs ?? {}) };
  for (const a of decl.attrs) if (a.type === 'f32') attrs[a.name] = Math.fround(attrs[a.name] as number);
  return attrs;
}

function dtypeOf(decl: OpDecl, test: DeclaredTest, name: string): DType {
  const own = test.dtypes?.[name];
  if (own) return own;
  const { dtypes } = decl.inputs.find((i) => i.name === name) as OpDecl['inputs'][number];
  if (typeof dtypes === 'string') return dtypeOf(decl, test, dtypes.slice(1));
  return dtypes[0] as DType;
}

/** Binds the letters of a declared test to numbers; '...' has its own place. */
function bindings(decl: OpDecl, test: DeclaredTest): { dims: Dims; lead: readonly number[] } {
  const { '...': lead = [], ...dims } = test.dims ?? {};
  const letters: Dims = { ...(dims as Dims), ...(test.conv ?? {}) };
  for (const input of decl.inputs) {
    const shape = test.shapes?.[input.name];
    input.shape.forEach((p, i) => {
      if (shape && typeof p === 'object' && 'letter' in p) letters[p.letter] = shape[i] as number;
    });
  }
  return { dims: letters, lead: lead as readonly number[] };
}

function shapeOf(decl: OpDecl, test: DeclaredTest, attrs: Readonly<Record<string, AttrValue>>, name: string): readonly number[] {
  if (test.shapes?.[name]) return test.shapes[name];
  const { dims, lead } = bindings(decl, test);
  const pattern = (decl.inputs.find((i) => i.name === name) as OpDecl['inputs'][number]).shape;
  return pattern.flatMap((p) => {
    if (p === '...') return lead;
    if (p === '*') throw new Error(`${decl.name}: the test gives no shape for ${name}`);
    return 'letter' in p ? (dims[p.letter] as number) : p.value(dims, attrs as NumericAttrs);
  });
}

// The weights of linear and conv2d are drawn as a checkpoint holds them; the residual of conv2d has the shape of its output.
function special(decl: OpDecl, test: DeclaredTest, attrs: Readonly<Record<string, AttrValue>>, name: string): CaseInput | undefined {
  const n = (key: string): number => attrs[key] as number;
  if (decl.name === 'linear' && name === 'w') {
    return { name, shape: [n('n'), (test.dims as Dims).K as number], dtype: dtypeOf(decl, test, name), packed: 'linear' };
  }
  if (decl.name !== 'conv2d' || !test.conv) return undefined;
  const { B, h, w, I } = test.conv;
  if (name === 'w') return { name, shape: [n('o'), I, n('kernel'), n('kernel')], dtype: dtypeOf(decl, test, name), packed: 'conv' };
  if (name !== 'residual') return undefined;
  const out = (d: number): number => Math.floor((d * n('upsample') + n('padBefore') + n('padAfter') - n('kernel')) / n('stride')) + 1;
  return { name, shape: [B, out(h), out(w), n('o')], dtype: dtypeOf(decl, test, name) };
}

/** Shape after packing, for the checks of the op itself. */
function onEngine(input: CaseInput, attrs: Readonly<Record<string, AttrValue>>): TensorRef {
  if (!input.packed) return ref(input.shape, input.dtype);
  const decl = declarationOf(input.packed === 'linear' ? 'linear_pack' : 'conv_pack');
  const given = input.packed === 'linear' ? { dtype: input.dtype } : { dtype: input.dtype, algo: attrs.algo };
  const out = infer(decl, [ref(input.shape, 'f32')], resolveAttrs(decl, given))[0] as { shape: readonly number[]; dtype: DType };
  return ref(out.shape, out.dtype);
}

/** The case of a declared test; throws what the op's own checks throw where it is not a legal call. */
export function caseOf(op: DeclaredOp, test: DeclaredTest, label: string): Case {
  const decl = declarationOf(op.name);
  const attrs = attributes(decl, test);
  const present = decl.inputs.filter((i) => !i.optional || test.with?.includes(i.name));
  const inputs = present.map(
    ({ name }) => special(decl, test, attrs, name) ?? { name, shape: shapeOf(decl, test, attrs, name), dtype: dtypeOf(decl, test, name) },
  );
  for (const { name, shape } of inputs) {
    const { length } = test.values?.[name] ?? { length: sizeOf(shape) };
    if (length !== sizeOf(shape)) throw new Error(`${op.name}: ${length} values for ${name} of shape ${shape}`);
  }
  const byName = new Map(inputs.map((i) => [i.name, onEngine(i, attrs)]));
  infer(
    decl,
    decl.inputs.map((i) => byName.get(i.name)),
    attrs,
  );
  return { op, decl, label, test, inputs, attrs, tol: test.tol ?? op.tol, rounds: op.in.some((i) => i.act) };
}

const KEPT = new Set(['P', 'V']);

/** A declared test with other sizes. Equal sizes stay equal; what a list of values, levels or V fixes is kept. */
function vary(test: DeclaredTest, draw: Draw): DeclaredTest {
  const to = new Map<number, number>();
  const other = (n: number): number => {
    if (n === 1 && draw.next() < 0.7) return 1;
    if (!to.has(n)) to.set(n, draw.int(1, Math.min(2 * n, n + 40) + 1));
    return to.get(n) as number;
  };
  const fixed = (letter: string): boolean =>
    KEPT.has(letter) ||
    (letter === 'B' && !!test.values) ||
    (letter === 'l' && !!test.levels) ||
    ('ns'.includes(letter) && !!test.values?.offsets);
  const letters = (o: Readonly<Record<string, number | readonly number[]>>): [string, number | readonly number[]][] =>
    Object.entries(o).map(([k, v]) => [k, fixed(k) ? v : typeof v === 'number' ? other(v) : v.map(other)]);
  const attrs: Record<string, AttrValue> = { ...test.attrs };
  for (const key of ['outH', 'outW', 'o']) if (typeof attrs[key] === 'number') attrs[key] = draw.int(1, 2 * attrs[key] + 1);
  const dims = test.dims && Object.fromEntries(letters(test.dims));
  if (dims && typeof attrs.n === 'number' && !test.intRange) {
    attrs.n = draw.int(1, 2 * attrs.n);
    dims.P = Math.ceil(attrs.n / 16);
  }
  if (Array.isArray(attrs.shape)) {
    const size = (dims?.['...'] as number[] | undefined)?.reduce((n, d) => n * d, 1);
    attrs.shape = size ? [size] : attrs.shape.map(other);
  }
  const shapes = test.shapes && Object.fromEntries(Object.entries(test.shapes).map(([k, v]) => [k, v.map(other)]));
  const conv = test.conv && (Object.fromEntries(letters(test.conv)) as unknown as DeclaredTest['conv']);
  return { ...test, attrs, ...(dims && { dims }), ...(shapes && { shapes }), ...(conv && { conv }) };
}

// One legal variation of a test, or none where its sizes hang together too tightly to be drawn.
function varied(op: DeclaredOp, test: DeclaredTest, seed: number, label: string): Case | undefined {
  for (let attempt = 0; attempt < 60; attempt++) {
    try {
      return caseOf(op, vary(test, new Draw(seed, op.name, label, attempt)), `${label} varied`);
    } catch {}
  }
  return undefined;
}

/** The first test again with each other dtype that an input accepts; casts name their dtypes themselves. */
function otherDTypes(op: DeclaredOp, tests: readonly DeclaredTest[]): Case[] {
  const decl = declarationOf(op.name);
  const cases: Case[] = [];
  if (op.name === 'cast') return cases;
  for (const input of decl.inputs) {
    if (typeof input.dtypes === 'string') continue;
    const index = tests.findIndex((t) => !input.optional || t.with?.includes(input.name));
    const test = tests[index];
    if (!test || input.name === 'vCache') continue;
    for (const dtype of input.dtypes.slice(1)) {
      if (dtype === 'u8') continue; // a pack that rounds: int8.test.ts
      const dtypes: Record<string, DType> = { ...test.dtypes, [input.name]: dtype };
      if (input.name === 'kCache') dtypes.vCache = dtype;
      cases.push(caseOf(op, { ...test, dtypes }, `${index} ${input.name} ${dtype}`));
    }
  }
  return cases;
}

/** Every case of an op: as declared, with other shapes, with other dtypes, in 16 bits. */
export function casesOf(op: DeclaredOp, seed: number): Case[] {
  const tests = op.tests ?? [];
  const declared = tests.map((t, i) => caseOf(op, t, String(i)));
  const others = tests.flatMap((t, i) => varied(op, t, seed, String(i)) ?? []);
  const narrow = narrowVariants(op, declarationOf(op.name), tests).map(({ label, test }) => caseOf(op, test, label));
  return [...declared, ...others, ...otherDTypes(op, tests), ...narrow];
}
