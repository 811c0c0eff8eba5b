// Runs one case on several engines (1 and 2 threads; on a GPU twice on the same one) and compares with the reference definition.
import type { DType, TypedData } from '../../ts/core/dtype.js';
import type { Engine, Tensor } from '../../ts/engine/index.js';
import { Args, type AttrMap, type Outputs, type Reference, sizeOf, type Ten, toDType } from '../reference/kit.js';
import { type Case, type CaseInput, camel } from './cases.js';
import { Draw, decode, encode } from './draw.js';
import { isNarrow, rounding, tensorCores } from './narrow.js';
import { roundedAttention, roundedAttentionGrad } from './rounded.js';

/** Closer than this, rounding may choose the other side. */
const SAFE_MARGIN = 1e-6;

const INTEGERS: Readonly<Record<string, readonly [number, number]>> = { i32: [-1000, 1000], u8: [0, 256] };

function visible(levels: readonly number[]): number[] {
  let seen = 0;
  return levels.flatMap((n) => {
    seen += n;
    return new Array<number>(n).fill(seen);
  });
}

function drawInput(c: Case, input: CaseInput, draw: Draw): Ten {
  const { test } = c;
  const fixed = input.name === 'visible' ? visible(test.levels ?? []) : test.values?.[input.name];
  if (fixed) {
    if (fixed.length !== sizeOf(input.shape))
      throw new Error(`${c.op.name}: ${fixed.length} values for ${input.name} of shape ${input.shape}`);
    return { shape: input.shape, data: Float64Array.from(fixed, (v) => toDType(v, input.dtype)) };
  }
  const ints = test.intRange?.[input.name] ?? INTEGERS[input.dtype];
  const [lo, hi] = test.range ?? [-1, 1];
  const data = new Float64Array(sizeOf(input.shape));
  for (let i = 0; i < data.length; i++) data[i] = ints ? draw.int(ints[0], ints[1]) : toDType(draw.between(lo, hi), input.dtype);
  return { shape: input.shape, data };
}

export interface Drawn {
  readonly inputs: Readonly<Record<string, Ten>>;
  readonly want: Outputs;
}

/** Inputs whose discrete choices are clear, and what the op must give for them. */
export function drawCase(c: Case, reference: Reference, seed: number): Drawn {
  const dtypes = Object.fromEntries(c.inputs.map((i) => [i.name, i.dtype]));
  for (let attempt = 0; attempt < 50; attempt++) {
    const inputs = Object.fromEntries(c.inputs.map((i) => [i.name, drawInput(c, i, new Draw(seed, c.op.name, c.label, i.name, attempt))]));
    const want = reference(new Args(inputs, c.attrs as AttrMap, dtypes));
    if (want.margin === undefined || want.margin > SAFE_MARGIN) return { inputs, want };
  }
  throw new Error(`${c.op.name} ${c.label}: every draw lies within ${SAFE_MARGIN} of a boundary`);
}

export interface Read {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedData;
}
export type Reads = Readonly<Record<string, Read>>;

function upload(engine: Engine, input: CaseInput, t: Ten, c: Case): Tensor {
  if (!input.packed) return engine.tensor(encode(t.data, input.dtype), input.shape, input.dtype);
  const raw = engine.tensor(Float32Array.from(t.data), input.shape, 'f32');
  if (input.packed === 'linear') return engine.ops.linearPack(raw, { dtype: input.dtype });
  return engine.ops.convPack(raw, { algo: c.attrs.algo as 'direct' | 'winograd2' | 'winograd4', dtype: input.dtype });
}

type Method = (...args: unknown[]) => Tensor | undefined;

/** Calls the op as a user would. */
export function callOp(engine: Engine, c: Case, tensors: ReadonlyMap<string, Tensor>): Tensor | undefined {
  const method = (engine.ops as unknown as Record<string, Method>)[camel(c.op.name)] as Method;
  const required = c.decl.inputs.filter((i) => !i.optional).map((i) => tensors.get(i.name));
  const optional = c.decl.inputs.filter((i) => i.optional && tensors.has(i.name)).map((i) => [i.name, tensors.get(i.name)]);
  return method.call(engine.ops, ...required, { ...c.attrs, ...Object.fromEntries(optional) });
}

/** All outputs and inputs of the op, read before and after the call. */
export async function runOn(engine: Engine, c: Case, drawn: Drawn): Promise<{ out: Reads; before: Reads; after: Reads }> {
  const scope = engine.openScope();
  try {
    const tensors = new Map<string, Tensor>();
    let y: Tensor | undefined;
    const before: Record<string, Read> = {};
    const read = async (t: Tensor): Promise<Read> => ({ dtype: t.dtype, shape: t.shape, data: await t.read() });
    scope.run(() => {
      for (const i of c.inputs) tensors.set(i.name, upload(engine, i, drawn.inputs[i.name] as Ten, c));
    });
    for (const [name, t] of tensors) before[name] = await read(t);
    scope.run(() => {
      y = callOp(engine, c, tensors);
    });
    const after: Record<string, Read> = {};
    for (const [name, t] of tensors) after[name] = await read(t);
    const out: Record<string, Read> = y && c.op.out[0] ? { [c.op.out[0].name]: await read(y) } : {};
    return { out, before, after };
  } finally {
    scope.close();
  }
}

export const sameBits = (a: TypedData, b: TypedData): boolean =>
  Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength));

/** How far a result may lie from the definition. */
interface Tolerance {
  /** Relative to max(1, max |want|). */
  readonly tol: number;
  /** Dtypes that the result may be rounded to on top of that. */
  readonly rounds?: readonly DType[];
  /** Only the elements that the definition gives are compared. */
  readonly front?: boolean;
}

const scaleOf = (want: Ten): number => want.data.reduce((scale, v) => (Number.isFinite(v) ? Math.max(scale, Math.abs(v)) : scale), 1);

/** Largest error beyond rounding against max(1, max |want|), and the first element beyond the tolerance. */
export function compare(got: Read, want: Ten, { tol, rounds = [], front = false }: Tolerance): { error: number; why: string } {
  if (got.shape.join() !== want.shape.join()) return { error: Number.POSITIVE_INFINITY, why: `shape is ${got.shape}, not ${want.shape}` };
  const values = decode(got.data, got.dtype);
  if (!front && values.length !== want.data.length) return { error: Number.POSITIVE_INFINITY, why: `${values.length} elements` };
  const integer = got.dtype === 'i32' || got.dtype === 'u8';
  const scale = scaleOf(want);
  let error = 0;
  let why = '';
  want.data.forEach((w, i) => {
    const g = values[i] as number;
    if (g === w || (Number.isNaN(g) && Number.isNaN(w))) return;
    const free = rounds.reduce((most, dtype) => Math.max(most, rounding(w, dtype, tol * scale)), 0);
    const e =
      integer || !Number.isFinite(g) || !Number.isFinite(w) ? Number.POSITIVE_INFINITY : Math.max(Math.abs(g - w) - free, 0) / scale;
    if (!(e <= tol) && !why) why = `element ${i} is ${g}, not ${w}`;
    error = Math.max(error, e);
  });
  return { error, why };
}

const COMPOSITIONS = { attention: roundedAttention, attention_grad: roundedAttentionGrad };

/** The tolerance of every result: that of ops.json and one rounding; on a GPU what 16-bit operands may cost there as well. */
function tolerances(c: Case, drawn: Drawn, device: string): (name: string, dtype: DType) => Tolerance {
  const front = drawn.want.front === true;
  const qkv = c.inputs.find((i) => i.name === 'qkv')?.dtype;
  if (device !== 'cuda' || front) return (_, dtype) => ({ tol: c.tol, front, rounds: c.rounds ? [dtype] : [] });
  const tol = c.tol + tensorCores(c);
  const composition = isNarrow(qkv) ? COMPOSITIONS[c.op.name as keyof typeof COMPOSITIONS] : undefined;
  const dtypes = Object.fromEntries(c.inputs.map((i) => [i.name, i.dtype]));
  const { tensors } = composition?.(new Args(drawn.inputs, c.attrs as AttrMap, dtypes), qkv as string) ?? { tensors: {} };
  return (name, dtype) => {
    const [want, other] = [drawn.want.tensors[name], tensors[name]];
    const far = want && other ? other.data.reduce((m, v, i) => Math.max(m, Math.abs(v - (want.data[i] as number))), 0) / scaleOf(want) : 0;
    // Of few elements the largest error is left to chance.
    const times = (want?.data.length ?? 0) < 64 ? 8 : 2;
    const cached = isNarrow(qkv) && (name === 'kCache' || name === 'vCache') ? [qkv] : [];
    return { tol: tol + times * far, rounds: c.rounds ? [dtype, ...cached] : [] };
  };
}

export interface Verdict {
  readonly label: string;
  readonly error: number;
  readonly problems: readonly string[];
}

/** Compares what an op gave, by name, with the definition. */
export function judge(c: Case, drawn: Drawn, device: string, reads: Reads): { error: number; problems: string[] } {
  const allowed = tolerances(c, drawn, device);
  const problems: string[] = [];
  let error = 0;
  for (const [name, want] of Object.entries(drawn.want.tensors)) {
    const got = reads[name];
    if (!got) {
      problems.push(`${name}: no such output`);
      continue;
    }
    const tolerance = allowed(name, got.dtype);
    const found = compare(got, want, tolerance);
    error = Math.max(error, found.error);
    if (found.why) problems.push(`${name}: ${found.why} (error ${found.error.toExponential(2)}, tolerance ${tolerance.tol})`);
  }
  return { error, problems };
}

export async function runCase(c: Case, reference: Reference, engines: readonly Engine[], seed: number): Promise<Verdict> {
  const drawn = drawCase(c, reference, seed);
  const runs = [];
  for (const engine of engines) runs.push(await runOn(engine, c, drawn));
  const [first] = runs as [(typeof runs)[number]];
  const { error, problems } = judge(c, drawn, engines[0]?.device ?? 'cpu', { ...first.after, ...first.out });
  for (const [i, run] of runs.entries()) {
    for (const [name, got] of Object.entries({ ...run.out, ...run.after })) {
      const one = first.out[name] ?? first.after[name];
      if (!one || !sameBits(got.data, one.data))
        problems.push(`${name}: run ${i + 1} (${engines[i]?.threads} threads) gives other bits than run 1 (${engines[0]?.threads})`);
    }
    for (const input of c.decl.inputs) {
      const [was, is] = [run.before[input.name], run.after[input.name]];
      if (was && is && !input.mut && !sameBits(was.data, is.data)) problems.push(`input ${input.name} was changed`);
    }
  }
  return { label: c.label, error, problems };
}
