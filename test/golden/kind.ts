// What a golden case is, and how its outputs are compared.
import { join } from 'node:path';
import type { Engine, Tensor } from '../../ts/index.js';

export type IoData = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Int16Array | Int8Array;

export interface IoTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: IoData;
}

export interface TensorNote {
  readonly role: 'input' | 'output';
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly atol?: number | readonly number[];
  readonly rtol?: number;
  readonly exact?: boolean;
}

/** case.json: the fields every kind has; the others are read by the kinds that know them. */
export interface CaseJson {
  readonly family: string;
  readonly case: string;
  readonly kind?: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly weights?: Readonly<Record<string, readonly string[]>>;
  readonly tensors?: Readonly<Record<string, TensorNote>>;
  readonly io?: string;
  readonly [field: string]: unknown;
}

export interface GoldenCase {
  readonly dir: string;
  /** Folder relative to the one the runner was given. */
  readonly name: string;
  readonly json: CaseJson;
  readonly io: ReadonlyMap<string, IoTensor>;
}

export interface Check {
  readonly tensor: string;
  readonly maxAbsErr: number;
  readonly tolerance: number;
  readonly ok: boolean;
  /** Printed behind a failure, or the reason of a skipped check. */
  readonly note?: string;
  readonly skipped?: boolean;
}

export type KindRunner = (c: GoldenCase, ctx: { engine: Engine }) => Promise<Check[]>;

export interface Got {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number | bigint>;
}

/** Compares `got` with the stored output `name`; `label` replaces the name in the report. */
export function compare(c: GoldenCase, name: string, got: Got, label = name): Check {
  const want = c.io.get(name);
  const note = c.json.tensors?.[name];
  if (!want || !note) return { tensor: label, maxAbsErr: Number.NaN, tolerance: 0, ok: false, note: `the case has no tensor ${name}` };
  return compareWith(label, got, want, note);
}

/** |got - want| <= atol + rtol |want| element by element; integers and exact tensors match exactly; NaN and wrong shapes fail. */
export function compareWith(
  tensor: string,
  got: Got,
  want: Got & { dtype?: string },
  note: Pick<TensorNote, 'atol' | 'rtol' | 'exact'>,
): Check {
  const { atol = 0, rtol = 0, exact = false } = note;
  const strict = exact || (note.atol === undefined && note.rtol === undefined);
  const perRow = typeof atol === 'number' ? null : atol;
  const tolerance = strict ? 0 : perRow ? Math.max(...perRow) : (atol as number);
  if (got.data.length !== want.data.length || got.shape.join() !== want.shape.join())
    return { tensor, maxAbsErr: Number.NaN, tolerance, ok: false, note: `shape [${got.shape}], expected [${want.shape}]` };
  const row = want.data.length / (want.shape[0] ?? 1);
  let maxAbsErr = 0;
  let wrong = 0;
  for (let i = 0; i < want.data.length; i++) {
    const [a, b] = [Number(got.data[i]), Number(want.data[i])];
    if (a === b) continue;
    const error = Math.abs(a - b);
    const bound = strict ? 0 : (perRow ? (perRow[Math.floor(i / row)] ?? Number.NaN) : (atol as number)) + rtol * Math.abs(b);
    if (!(error <= bound)) wrong++;
    if (!(error <= maxAbsErr)) maxAbsErr = error;
  }
  return { tensor, maxAbsErr, tolerance, ok: wrong === 0, ...(wrong > 0 ? { note: `${wrong} of ${want.data.length} differ` } : {}) };
}

/** Names of the case's outputs, in the order of case.json. */
export function outputs(c: GoldenCase): string[] {
  return Object.entries(c.json.tensors ?? {}).flatMap(([name, note]) => (note.role === 'output' ? [name] : []));
}

export function input(c: GoldenCase, name: string): IoTensor {
  const found = c.io.get(name);
  if (!found) throw new Error(`${c.name}: input ${name} is missing in ${join(c.dir, String(c.json.io))}`);
  return found;
}

export function ints(tensor: IoTensor): Int32Array {
  return Int32Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

export function floats(tensor: IoTensor): Float32Array {
  return Float32Array.from(tensor.data as ArrayLike<number | bigint>, Number);
}

/** [B, C, h, w] to [B, h, w, C]. */
export function toNhwc<T extends Float32Array | Uint8Array>(data: T, shape: readonly number[]): { data: T; shape: number[] } {
  const [b, c, h, w] = shape as [number, number, number, number];
  const out = data.slice() as T;
  for (let n = 0; n < b; n++)
    for (let p = 0; p < h * w; p++) for (let k = 0; k < c; k++) out[(n * h * w + p) * c + k] = data[(n * c + k) * h * w + p]!;
  return { data: out, shape: [b, h, w, c] };
}

/** [B, h, w, C] to [B, C, h, w]. */
export function toNchw(got: Got): Got {
  const [b, h, w, c] = got.shape as [number, number, number, number];
  const out = new Float32Array(got.data.length);
  for (let n = 0; n < b; n++)
    for (let p = 0; p < h * w; p++) for (let k = 0; k < c; k++) out[(n * c + k) * h * w + p] = Number(got.data[(n * h * w + p) * c + k]);
  return { data: out, shape: [b, c, h, w] };
}

export async function read(tensor: Tensor): Promise<Got> {
  const { shape } = tensor;
  return { shape, data: await tensor.read() };
}

/** Reads and releases. */
export async function take(tensor: Tensor): Promise<Got> {
  const got = read(tensor);
  tensor.dispose();
  return await got;
}

/** Gathers what an inspection hook sees. */
export class Taps {
  private readonly seen = new Map<string, Promise<Got>>();

  readonly tap = (name: string, tensor: Tensor): void => {
    const got = read(tensor);
    got.catch(() => {});
    this.seen.set(name, got);
  };

  async get(name: string): Promise<Got> {
    const got = this.seen.get(name);
    if (!got) throw new Error(`no tap ${name}; seen: ${[...this.seen.keys()].join(', ')}`);
    return await got;
  }
}
