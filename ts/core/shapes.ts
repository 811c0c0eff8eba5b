import { checkArray, checkBoolean, checkEnum, checkInt, checkNumber } from './check.js';
import { DTYPES, type DType, dtypeSize } from './dtype.js';
import { ArgumentError, DTypeError, ShapeError } from './errors.js';
import type {
  AttrDecl,
  Attrs,
  AttrValue,
  Dims,
  InputDecl,
  NumericAttrs,
  OpDecl,
  OutputSpec,
  RuleContext,
  ShapePattern,
  TensorRef,
} from './types.js';

/** [2,3,4] */
export function showShape(shape: readonly number[]): string {
  return `[${shape.join(',')}]`;
}

/** Number of elements. */
export function sizeOf(shape: readonly number[]): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Throws a ShapeError that lists the inputs, e.g. `[op] q is [2,8], k is [2,9]: why`. */
export function shapeFailure(c: Pick<RuleContext, 'op' | 'in'>, why: string, only?: readonly string[]): never {
  const parts: string[] = [];
  for (const [name, t] of Object.entries(c.in)) {
    if (t && (!only || only.includes(name))) parts.push(`${name} is ${showShape(t.shape)}`);
  }
  throw new ShapeError(`[${c.op}] ${parts.length > 0 ? `${parts.join(', ')}: ` : ''}${why}`);
}

function checkAttr(op: string, decl: AttrDecl, value: unknown): AttrValue {
  // The two commonest kinds without building the name that only a message needs.
  if (decl.type === 'f32' && typeof value === 'number' && !Number.isNaN(value)) return value;
  if (decl.type === 'enum' && decl.values.includes(value as string)) return value as string;
  const name = `[${op}] ${decl.name}`;
  switch (decl.type) {
    case 'f32':
      return checkNumber(name, value);
    case 'i32':
      return checkInt(name, value, -0x80000000, 0x7fffffff);
    case 'bool':
      return checkBoolean(name, value);
    case 'dims':
      return checkDims(name, value);
    case 'dtype':
      return checkEnum(name, value, DTYPES);
    case 'enum':
      return checkEnum(name, value, decl.values);
  }
}

// A shape or an order of axes; the rule of the op knows which and checks the lower bound.
function checkDims(name: string, value: unknown): readonly number[] {
  const list = checkArray(name, value, 0, 6);
  for (const v of list) checkInt(name, v, 0, 0x7fffffff);
  return list as readonly number[];
}

const knownOptions = new WeakMap<OpDecl, Set<string>>();

function checkKnown(op: OpDecl, given: object): void {
  let known = knownOptions.get(op);
  if (!known) {
    known = new Set([...op.attrs.map((a) => a.name), ...op.inputs.filter((t) => t.optional).map((t) => t.name)]);
    knownOptions.set(op, known);
  }
  for (const key in given) {
    if (!known.has(key)) throw new ArgumentError(`[${op.name}] unknown option ${key}, known are ${[...known].join(', ') || 'none'}`);
  }
}

/** All attributes with their defaults, each of its declared type. */
export function resolveAttrs(op: OpDecl, given: object): Attrs {
  checkKnown(op, given);
  const attrs: Record<string, AttrValue> = {};
  const values = given as Record<string, unknown>;
  for (const decl of op.attrs) {
    const value = values[decl.name];
    if (value !== undefined) attrs[decl.name] = checkAttr(op.name, decl, value);
    else if (decl.default !== undefined) attrs[decl.name] = decl.default;
    else throw new ArgumentError(`[${op.name}] ${decl.name} is missing`);
  }
  return attrs;
}

interface Unifier {
  readonly op: string;
  readonly byName: Record<string, TensorRef | undefined>;
  readonly d: Dims;
  readonly from: Record<string, string>;
  lead: readonly number[] | undefined;
  leadFrom: string;
}

// First pass: bare letters and '...' bind, or must agree with what is bound.
function bind(u: Unifier, input: InputDecl, t: TensorRef): void {
  const { shape } = input;
  const first = shape[0];
  const open = first === '...' || shape.at(-1) === '*';
  const fixed = open ? shape.length - 1 : shape.length;
  if (open ? t.shape.length < fixed : t.shape.length !== fixed) {
    shapeFailure({ op: u.op, in: u.byName }, `${input.name} must have ${open ? 'at least ' : ''}${fixed} dims`, [input.name]);
  }
  const skip = first === '...' ? t.shape.length - fixed : 0;
  if (first === '...') bindLead(u, input, t.shape.slice(0, skip));
  for (let i = first === '...' ? 1 : 0; i < shape.length; i++) {
    const p = shape[i];
    if (typeof p !== 'object' || !('letter' in p)) continue;
    const size = t.shape[first === '...' ? skip + i - 1 : i] as number;
    const bound = u.d[p.letter];
    if (bound === undefined) {
      u.d[p.letter] = size;
      u.from[p.letter] = input.name;
    } else if (bound !== size) {
      const other = u.from[p.letter] as string;
      shapeFailure({ op: u.op, in: u.byName }, `${p.letter} is ${bound} in ${other} and ${size} in ${input.name}`, [other, input.name]);
    }
  }
}

function bindLead(u: Unifier, input: InputDecl, lead: readonly number[]): void {
  if (!u.lead) {
    u.lead = lead;
    u.leadFrom = input.name;
    return;
  }
  if (u.lead.length !== lead.length || u.lead.some((d, i) => d !== lead[i])) {
    shapeFailure({ op: u.op, in: u.byName }, 'leading dims differ', [u.leadFrom, input.name]);
  }
}

// Second pass: literals and expressions, now that every letter is bound.
function compare(u: Unifier, input: InputDecl, t: TensorRef, a: NumericAttrs): void {
  const { shape } = input;
  const skip = shape[0] === '...' ? t.shape.length - shape.length : 0;
  for (let i = 0; i < shape.length; i++) {
    const p = shape[i];
    if (typeof p !== 'object' || !('value' in p)) continue;
    const want = p.value(u.d, a);
    const have = t.shape[skip + i] as number;
    if (want !== have) {
      const what = String(want) === p.text ? p.text : `${p.text.replaceAll('a.', '')} = ${want}`;
      shapeFailure({ op: u.op, in: u.byName }, `dim ${skip + i} of ${input.name} must be ${what}`);
    }
  }
}

function checkDType(u: Unifier, input: InputDecl, t: TensorRef): void {
  const { dtypes } = input;
  if (typeof dtypes === 'string') {
    const other = u.byName[dtypes.slice(1)];
    if (other && other.dtype !== t.dtype) {
      throw new DTypeError(`[${u.op}] ${input.name} is ${t.dtype}, ${dtypes.slice(1)} is ${other.dtype}: they must agree`);
    }
  } else if (!dtypes.includes(t.dtype)) {
    throw new DTypeError(`[${u.op}] ${input.name} is ${t.dtype}: expected ${dtypes.join(', ')}`);
  }
}

/** The shape a pattern gives under bound dims. */
function build(c: RuleContext, pattern: ShapePattern, lead: readonly number[]): readonly number[] {
  const shape: number[] = [];
  for (const p of pattern) {
    if (p === '...') shape.push(...lead);
    else if (typeof p === 'object') shape.push('letter' in p ? (c.d[p.letter] as number) : p.value(c.d as Dims, c.a as NumericAttrs));
  }
  if (shape.length > 6 || shape.some((d) => !(Number.isInteger(d) && d >= 1 && d <= 0x7fffffff))) {
    shapeFailure(c, `the output would be ${showShape(shape)}`);
  }
  return shape;
}

const MAX_DIM = 0x7fffffff;
const MAX_BYTES = 2 ** 46;

/** Whether a tensor can exist at all: every dim fits 31 bits and all bytes together 46. */
export function fits(shape: readonly number[], dtype: DType): boolean {
  return sizeOf(shape) * dtypeSize(dtype) <= MAX_BYTES && shape.every((d) => d <= MAX_DIM);
}

function outputDType(c: RuleContext, dtype: OpDecl['outputs'][number]['dtype']): DType {
  if (typeof dtype === 'function') return dtype(c);
  if (dtype.startsWith('=')) return (c.in[dtype.slice(1)] as TensorRef).dtype;
  if (dtype.startsWith('@')) return c.a[dtype.slice(1)] as DType;
  return dtype as DType;
}

/**
 * Checks inputs and attributes of a call against the declaration and gives shape and dtype of the outputs.
 * Throws ShapeError, DTypeError or ArgumentError.
 */
export function infer(op: OpDecl, inputs: readonly (TensorRef | undefined)[], attrs: Attrs): OutputSpec[] {
  const u: Unifier = { op: op.name, byName: {}, d: {}, from: {}, lead: undefined, leadFrom: '' };
  for (let i = 0; i < op.inputs.length; i++) {
    const decl = op.inputs[i] as InputDecl;
    const t = inputs[i];
    u.byName[decl.name] = t;
    if (!t) {
      if (!decl.optional) throw new ArgumentError(`[${op.name}] ${decl.name} is missing`);
      continue;
    }
    checkDType(u, decl, t);
    bind(u, decl, t);
  }
  for (let i = 0; i < op.inputs.length; i++) {
    const t = inputs[i];
    if (t) compare(u, op.inputs[i] as InputDecl, t, attrs as NumericAttrs);
  }
  const c: RuleContext = { op: op.name, in: u.byName, a: attrs, d: u.d };
  op.check?.(c);
  return op.outputs.map((o) => {
    const shape = typeof o.shape === 'function' ? o.shape(c) : build(c, o.shape, u.lead ?? []);
    const dtype = outputDType(c, o.dtype);
    if (!fits(shape, dtype)) shapeFailure(c, `the output would be ${dtype}${showShape(shape)}, more than 64 TiB or 2^31 - 1 in a dim`);
    return { shape, dtype };
  });
}
