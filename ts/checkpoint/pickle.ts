// Values -> pickle of protocol 2, with the globals that torch.load(weights_only=True) accepts and no others.
import { ArgumentError } from '../core/errors.js';
import { fileDType } from './dtype.js';
import { isTensorSource, type TensorSource } from './source.js';
import { contiguousStrides, OrderedDict, PyFloat, PyTuple } from './value.js';

/** A value that can be written: plain values, Map or plain object (dict), OrderedDict, arrays (list), PyTuple, PyFloat, tensors. */
export type Writable =
  | null
  | boolean
  | number
  | bigint
  | string
  | TensorSource
  | PyTuple
  | PyFloat
  | readonly Writable[]
  | ReadonlyMap<unknown, unknown>
  | { readonly [key: string]: Writable };

const MAX_DEPTH = 200;

/** Result: the pickle, and the storages it refers to, key i being storages[i]. */
export interface Pickled {
  bytes: Uint8Array;
  storages: TensorSource[];
}

class Pickler {
  private readonly parts: Uint8Array[] = [];
  private readonly keys = new Map<TensorSource, number>();
  private readonly encoder = new TextEncoder();
  readonly storages: TensorSource[] = [];

  pickle(value: unknown): Uint8Array {
    this.raw([0x80, 2]);
    this.value(value, 0);
    this.raw([0x2e]);
    return Buffer.concat(this.parts);
  }

  private raw(bytes: readonly number[]): void {
    this.parts.push(Uint8Array.from(bytes));
  }

  private value(value: unknown, depth: number): void {
    if (depth > MAX_DEPTH) throw new ArgumentError('writePth: values nested too deeply, or in a circle');
    if (value === null) this.raw([0x4e]);
    else if (typeof value === 'boolean') this.raw([value ? 0x88 : 0x89]);
    else if (typeof value === 'number') Number.isInteger(value) && !Object.is(value, -0) ? this.integer(BigInt(value)) : this.float(value);
    else if (typeof value === 'bigint') this.integer(value);
    else if (typeof value === 'string') this.text(value);
    else if (value instanceof PyFloat) this.float(value.value);
    else if (value instanceof PyTuple) this.tuple(value.items, depth);
    else if (Array.isArray(value)) this.list(value, depth);
    else if (value instanceof OrderedDict) this.ordered(value, depth);
    else if (value instanceof Map) this.dict(value, depth);
    else if (isTensorSource(value)) this.tensor(value);
    else if (isPlainObject(value)) this.dict(new Map(Object.entries(value)), depth);
    else
      throw new ArgumentError(
        `writePth: a value of type ${typeof value} (${(value as object | undefined)?.constructor?.name ?? ''}) cannot be written`,
      );
  }

  private integer(value: bigint): void {
    if (value >= -0x80000000n && value <= 0x7fffffffn) {
      const bytes = new Uint8Array(5);
      bytes[0] = 0x4a;
      new DataView(bytes.buffer).setInt32(1, Number(value), true);
      this.parts.push(bytes);
      return;
    }
    const bytes: number[] = [];
    let rest = value;
    for (; !(rest === 0n && !(bytes.at(-1)! & 0x80)) && !(rest === -1n && bytes.at(-1)! & 0x80); rest >>= 8n)
      bytes.push(Number(rest & 0xffn));
    if (bytes.length > 255) throw new ArgumentError('writePth: integer of more than 255 bytes');
    this.raw([0x8a, bytes.length, ...bytes]);
  }

  private float(value: number): void {
    const bytes = new Uint8Array(9);
    bytes[0] = 0x47;
    new DataView(bytes.buffer).setFloat64(1, value, false);
    this.parts.push(bytes);
  }

  private text(value: string): void {
    const utf8 = this.encoder.encode(value);
    const head = new Uint8Array(5);
    head[0] = 0x58;
    new DataView(head.buffer).setUint32(1, utf8.length, true);
    this.parts.push(head, utf8);
  }

  private global(module: string, name: string): void {
    this.parts.push(this.encoder.encode(`c${module}\n${name}\n`));
  }

  private tuple(items: readonly unknown[], depth: number): void {
    const short = items.length <= 3;
    if (!short) this.raw([0x28]);
    for (const item of items) this.value(item, depth + 1);
    this.raw([items.length === 0 ? 0x29 : short ? 0x84 + items.length : 0x74]);
  }

  private list(items: readonly unknown[], depth: number): void {
    this.raw([0x5d, 0x28]);
    for (const item of items) this.value(item, depth + 1);
    this.raw([0x65]);
  }

  private dict(map: ReadonlyMap<unknown, unknown>, depth: number): void {
    this.raw([0x7d]);
    this.items(map, depth);
  }

  private ordered(map: OrderedDict<unknown>, depth: number): void {
    this.emptyOrdered();
    this.items(map, depth);
    if (!map.attributes) return;
    this.value(map.attributes, depth + 1);
    this.raw([0x62]);
  }

  private emptyOrdered(): void {
    this.global('collections', 'OrderedDict');
    this.raw([0x29, 0x52]);
  }

  private items(map: ReadonlyMap<unknown, unknown>, depth: number): void {
    if (map.size === 0) return;
    this.raw([0x28]);
    for (const [key, value] of map) {
      this.value(key, depth + 1);
      this.value(value, depth + 1);
    }
    this.raw([0x75]);
  }

  /** _rebuild_tensor_v2(storage, 0, shape, strides, requires_grad=False, OrderedDict()). */
  private tensor(source: TensorSource): void {
    const { storage } = fileDType(source.dtype);
    if (storage === undefined) throw new ArgumentError(`writePth: ${source.dtype} tensors cannot be written`);
    const known = this.keys.get(source);
    const key = known ?? this.storages.push(source) - 1;
    this.keys.set(source, key);
    const elements = source.shape.reduce((a, b) => a * b, 1);
    this.global('torch._utils', '_rebuild_tensor_v2');
    this.raw([0x28, 0x28]);
    this.text('storage');
    this.global('torch', storage);
    this.text(String(key));
    this.text('cpu');
    this.integer(BigInt(elements));
    this.raw([0x74, 0x51]);
    this.integer(0n);
    this.tuple(source.shape, 0);
    this.tuple(contiguousStrides(source.shape), 0);
    this.raw([0x89]);
    this.emptyOrdered();
    this.raw([0x74, 0x52]);
  }
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value) as unknown;
  return prototype === null || prototype === Object.prototype;
}

export function pickle(value: unknown): Pickled {
  const pickler = new Pickler();
  return { bytes: pickler.pickle(value), storages: pickler.storages };
}
