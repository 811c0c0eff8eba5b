// Values of a pickle as data. Nothing of Python is executed: names stay names, objects stay their arguments and state.
import type { FileDType } from './dtype.js';

/** A value read from, or written to, a .pth file. Python dict: Map; list: array; int beyond 2^53: bigint. */
export type PyValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PyValue[]
  | PyTuple
  | PyFloat
  | Map<PyValue, PyValue>
  | Set<PyValue>
  | PyName
  | PyObject
  | PyStorage
  | FileTensor;

export class PyTuple {
  constructor(readonly items: readonly PyValue[]) {}
}

/** A Python float: keeps 1.0 apart from 1. Arithmetic works on it directly; `value` is the number. */
export class PyFloat {
  constructor(readonly value: number) {}
  valueOf(): number {
    return this.value;
  }
}

/** collections.OrderedDict; `attributes` holds what was set on the object (`_metadata` of a state dict). */
export class OrderedDict<V = PyValue> extends Map<PyValue, V> {
  attributes: Map<PyValue, PyValue> | undefined;
}

/** A class, function or dtype by name; never resolved, never called. */
export class PyName {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
  toString(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An object of an allow-listed class, as data. */
export class PyObject {
  state: PyValue | undefined;
  constructor(
    readonly type: string,
    readonly args: readonly PyValue[],
  ) {}
}

/** Where the bytes of a storage lie in the file. */
export interface Region {
  offset: number;
  /** Bytes of the storage, unpacked. */
  byteLength: number;
  /** Bytes in the file when the record is compressed. */
  deflated?: number;
  /** CRC-32 of the unpacked bytes, where the container has one. */
  crc?: number;
}

/** A run of elements of one dtype; 'untyped' counts bytes. `region` is known once the container has been read. */
export class PyStorage {
  region: Region | undefined;
  constructor(
    readonly key: string,
    readonly dtype: FileDType | 'untyped',
    readonly elements: number,
  ) {}
}

/** A strided view of a storage; shape and strides count elements, byteOffset counts bytes from the start of the storage. */
export class FileTensor {
  constructor(
    readonly storage: PyStorage,
    readonly dtype: FileDType,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
    readonly byteOffset: number,
    readonly parameter = false,
  ) {}

  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  get contiguous(): boolean {
    if (this.size <= 1) return true;
    let expected = 1;
    for (let i = this.shape.length - 1; i >= 0; i--) {
      const n = this.shape[i]!;
      if (n !== 1 && this.strides[i] !== expected) return false;
      expected *= n;
    }
    return true;
  }
}

/** Strides of a contiguous tensor. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= Math.max(shape[i]!, 1);
  }
  return strides;
}
