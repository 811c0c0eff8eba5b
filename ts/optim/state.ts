// Optimizer state as torch numbers and names it, and tolerant access to what a checkpoint gives back.
import { type ByteSource, PyFloat, type TensorSource } from '../checkpoint/index.js';
import { ArgumentError } from '../core/errors.js';
import { type Engine, Tensor } from '../engine/index.js';

/** A dict that was read back: a plain object or a Map; integer keys may have become text. */
export function entry(dict: unknown, key: string | number): unknown {
  if (dict instanceof Map) return dict.has(key) ? dict.get(key) : dict.get(String(key));
  if (typeof dict !== 'object' || dict === null) return undefined;
  return (dict as Record<string, unknown>)[String(key)];
}

/** A number, a PyFloat, or a tensor of one element. */
export async function scalar(value: unknown, what: string): Promise<number> {
  if (typeof value === 'number') return value;
  if (typeof value === 'bigint') return Number(value);
  if (isReadable(value)) return Number((await value.read())[0]);
  if (isBytes(value)) return Number(((await hostData(value)) as unknown as ArrayLike<number>)[0]);
  const plain = Number(value);
  if (value === null || value === undefined || Number.isNaN(plain))
    throw new ArgumentError(`${what} is ${String(value)}: expected a number`);
  return plain;
}

/** A tensor on the engine that the caller disposes, of a live tensor, a saved one (with `load`) or bytes; shape and dtype are checked. */
export async function toTensor(
  engine: Engine,
  value: unknown,
  want: { what: string; shape: readonly number[]; dtype: 'f32' | 'u8' },
): Promise<Tensor> {
  const shape = (value as { shape?: readonly number[] } | undefined)?.shape;
  if (!shape) throw new ArgumentError(`${want.what} is missing in the state`);
  const elements = want.shape.reduce((a, b) => a * b, 1);
  if (shape.reduce((a, b) => a * b, 1) !== elements || (shape.length > 1 && shape.join() !== want.shape.join()))
    throw new ArgumentError(`${want.what} is [${shape}] in the state, expected [${want.shape}]`);
  const { dtype } = want;
  if (value instanceof Tensor) return engine.view(value, 0, [elements]);
  if (isLoadable(value)) return value.load(engine, { dtype });
  if (!isBytes(value)) throw new ArgumentError(`${want.what} is no tensor`);
  const data = await hostData(value);
  if (value.dtype !== dtype) throw new ArgumentError(`${want.what} is ${value.dtype} in the state, expected ${dtype}`);
  const { buffer, byteOffset } = data.byteOffset % 4 === 0 ? data : { buffer: copyOf(data), byteOffset: 0 };
  return engine.tensor(dtype === 'f32' ? new Float32Array(buffer, byteOffset, elements) : new Uint8Array(buffer, byteOffset, elements), [
    elements,
  ]);
}

/** Overwrites a tensor in place by a saved one. */
export async function overwrite(target: Tensor, value: unknown, what: string): Promise<void> {
  const { engine, shape, size } = target;
  await engine.throttle();
  const dtype = target.dtype === 'u8' ? 'u8' : 'f32';
  const source = await toTensor(engine, value, { what, shape, dtype });
  engine.scope(() => engine.ops.writeSlice(engine.view(target, 0, [size]), engine.view(source, 0, [size]), { axis: 0, start: 0 }));
  source.dispose();
}

/** A number that stays a float in the file even where it is whole. */
export const float = (value: number): PyFloat => new PyFloat(value);

/** The groups of a saved optimizer. */
export function groupsOf(saved: unknown): readonly unknown[] {
  const groups = entry(saved, 'param_groups');
  if (!Array.isArray(groups)) throw mismatch('it has no param_groups');
  return groups as unknown[];
}

export function mismatch(why: string): ArgumentError {
  return new ArgumentError(`the optimizer's state does not fit the model: ${why}`);
}

/** One number as torch stores a step: f32 without dims. */
export function scalarTensor(value: number): TensorSource {
  return { dtype: 'f32', shape: [], data: Float32Array.of(value) };
}

interface Loadable {
  load(engine: Engine, options: { dtype: 'f32' | 'u8' }): Tensor;
}

interface Readable {
  read(): Promise<ArrayLike<number | bigint>>;
}

const isLoadable = (value: unknown): value is Loadable => typeof (value as Partial<Loadable> | null)?.load === 'function';
const isReadable = (value: unknown): value is Readable => typeof (value as Partial<Readable> | null)?.read === 'function';
const isBytes = (value: unknown): value is ByteSource => typeof value === 'object' && value !== null && 'data' in value && 'dtype' in value;

async function hostData({ data }: ByteSource): Promise<ArrayBufferView> {
  return typeof data === 'function' ? await data() : data;
}

function copyOf(data: ArrayBufferView): ArrayBuffer {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice().buffer;
}
