// State of a run between memory and a checkpoint file: plain values, typed arrays and tensors go in, plain values and lazy tensors come out.
import { type ByteSource, type Checkpoint, type FileDType, FileTensor, PyFloat, PyTuple, type Writable } from '../checkpoint/index.js';
import type { DType } from '../core/dtype.js';
import { CheckpointError } from '../core/errors.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { WeightSource } from '../nn/index.js';
import type { StateValue } from './task.js';

export type HostArray = Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array | Int8Array | Uint16Array;

/** A tensor or typed array of a checkpoint file; nothing is read before it is asked for. */
export class SavedTensor {
  constructor(
    private readonly checkpoint: Checkpoint,
    /** Its place in the file, names joined with dots. */
    readonly key: string,
    readonly dtype: FileDType,
    readonly shape: readonly number[],
  ) {}

  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  /** The values on the host. Throws CheckpointError for dtypes that JavaScript has no array for. */
  async read(): Promise<HostArray> {
    const bytes = await this.checkpoint.bytes(this.key);
    const aligned = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
    const { buffer, byteOffset, byteLength } = aligned;
    const make = ARRAYS[this.dtype];
    if (!make) throw new CheckpointError(`${this.checkpoint.path}: ${this.key} is ${this.dtype}`, { file: this.checkpoint.path });
    return make(buffer, byteOffset, byteLength);
  }

  /** A tensor on the engine that the caller disposes; f32 and i32 are mapped from the file and must be used before it changes. */
  load(engine: Engine, options: { dtype?: DType } = {}): Tensor {
    return this.checkpoint.load(engine, this.key, options);
  }
}

type MakeArray = (buffer: ArrayBufferLike, offset: number, bytes: number) => HostArray;

const ARRAYS: Partial<Record<FileDType, MakeArray>> = {
  f32: (buffer, offset, bytes) => new Float32Array(buffer, offset, bytes / 4),
  f64: (buffer, offset, bytes) => new Float64Array(buffer, offset, bytes / 8),
  i32: (buffer, offset, bytes) => new Int32Array(buffer, offset, bytes / 4),
  i64: (buffer, offset, bytes) => new BigInt64Array(buffer, offset, bytes / 8),
  u8: (buffer, offset, bytes) => new Uint8Array(buffer, offset, bytes),
  i8: (buffer, offset, bytes) => new Int8Array(buffer, offset, bytes),
  bool: (buffer, offset, bytes) => new Uint8Array(buffer, offset, bytes),
  f16: (buffer, offset, bytes) => new Uint16Array(buffer, offset, bytes / 2),
  bf16: (buffer, offset, bytes) => new Uint16Array(buffer, offset, bytes / 2),
};

const DTYPES: readonly [new (n: number) => ArrayBufferView, FileDType][] = [
  [Float32Array, 'f32'],
  [Float64Array, 'f64'],
  [Int32Array, 'i32'],
  [BigInt64Array, 'i64'],
  [Uint8Array, 'u8'],
  [Int8Array, 'i8'],
];

/** A value as writePth takes it: typed arrays become tensors of one dimension, absent fields are left out. */
export function encodeState(value: StateValue): Writable {
  if (ArrayBuffer.isView(value)) {
    const found = DTYPES.find(([type]) => value instanceof type);
    if (!found) throw new TypeError(`a checkpoint cannot hold a ${value.constructor.name}`);
    const source: ByteSource = { dtype: found[1], shape: [(value as Uint8Array).length], data: value };
    return source;
  }
  if (Array.isArray(value)) return value.map(encodeState);
  if (value instanceof PyTuple) return new PyTuple(value.items);
  if (value instanceof Map) {
    // the class stays: a state dict is an OrderedDict with attributes
    const copy = new (value.constructor as MapConstructor)<unknown, unknown>();
    for (const [key, item] of value) copy.set(key, encodeState(item));
    const { attributes } = value as { attributes?: unknown };
    if (attributes !== undefined) (copy as { attributes?: unknown }).attributes = attributes;
    return copy;
  }
  if (typeof value === 'object' && value !== null && 'dtype' in value && 'shape' in value) return value as Writable;
  if (typeof value === 'object' && value !== null && isPlain(value)) {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    return Object.fromEntries(entries.map(([key, item]) => [key, encodeState(item)]));
  }
  return (value ?? null) as Writable;
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value) as unknown;
  return prototype === null || prototype === Object.prototype;
}

/** What a .pth file holds, as encodeState took it: dicts are plain objects, lists and tuples arrays, tensors and typed arrays SavedTensor. */
export function decodeState(checkpoint: Checkpoint): Record<string, StateValue> {
  const decode = (node: unknown, path: string): StateValue => {
    if (node instanceof FileTensor) return new SavedTensor(checkpoint, path, node.dtype, node.shape);
    const below = (key: unknown, item: unknown) => decode(item, path === '' ? String(key) : `${path}.${String(key)}`);
    if (node instanceof Map) {
      const out = Object.create(null) as Record<string, StateValue>;
      for (const [key, item] of node) out[String(key)] = below(key, item);
      return out;
    }
    if (node instanceof PyTuple) return node.items.map((item, i) => below(i, item));
    if (Array.isArray(node)) return node.map((item, i) => below(i, item));
    return node instanceof PyFloat ? node.value : node;
  };
  const state = decode(checkpoint.structure, '');
  if (typeof state !== 'object' || state === null || Array.isArray(state))
    throw new CheckpointError(`${checkpoint.path}: a dict is expected in a checkpoint of a run`, { file: checkpoint.path });
  return state as Record<string, StateValue>;
}

/** A state dict that `restore` was given, as a source of weights for Parameters and modules. Entries that are no tensors are left out. */
export function savedWeights(path: string, dict: StateValue): WeightSource {
  const tensors = new Map(Object.entries((dict ?? {}) as object).filter(([, item]) => item instanceof SavedTensor)) as Map<
    string,
    SavedTensor
  >;
  const get = (key: string): SavedTensor => {
    const found = tensors.get(key);
    if (!found) throw new CheckpointError(`${path}: no tensor ${key}`, { file: path, key });
    return found;
  };
  return {
    path,
    keys: () => tensors.keys(),
    has: (key) => tensors.has(key),
    info: (key) => ({ dtype: get(key).dtype, shape: get(key).shape }),
    load: (engine, key, options) => get(key).load(engine, options),
  };
}
