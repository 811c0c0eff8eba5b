// Bytes of a pickle, and the opcodes that stand for one scalar value.
import { fail, quote } from './fail.js';
import { LIMITS } from './limits.js';
import { PyFloat, type PyValue } from './value.js';

/** Thrown when the bytes end inside the pickle; a caller that holds only a part of a stream can read more. */
export class PickleEnd extends Error {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const latin1 = new TextDecoder('latin1');

export class PickleReader {
  private readonly view: DataView;
  at = 0;
  /** Offset of the opcode being read, for messages. */
  opAt = 0;

  constructor(
    private readonly data: Uint8Array,
    private readonly file: string,
    private readonly base: number,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  /** Where the current opcode lies. */
  get where(): { file: string; offset: number } {
    return { file: this.file, offset: this.base + this.opAt };
  }

  bad(message: string): never {
    return fail(this.where, `pickle: ${message}`);
  }

  /** Advances over n bytes and returns where they begin. */
  private take(n: number): number {
    const from = this.at;
    if (n > this.data.length - from) throw new PickleEnd('pickle ends early');
    this.at = from + n;
    return from;
  }

  byte(): number {
    return this.data[this.take(1)]!;
  }

  uint16(): number {
    return this.view.getUint16(this.take(2), true);
  }

  int32(): number {
    return this.view.getInt32(this.take(4), true);
  }

  uint32(): number {
    return this.view.getUint32(this.take(4), true);
  }

  float64(): PyFloat {
    return new PyFloat(this.view.getFloat64(this.take(8), false));
  }

  /** A length of 4 bytes. */
  length4(): number {
    return this.length(this.uint32());
  }

  /** A length of 8 bytes. */
  length8(): number {
    return this.length(this.view.getBigUint64(this.take(8), true));
  }

  private length(n: number | bigint): number {
    if (n > LIMITS.pickleBytes) this.bad(`length ${n}, at most ${LIMITS.pickleBytes} bytes are read`);
    return Number(n);
  }

  bytes(n: number): Uint8Array {
    const from = this.take(n);
    return this.data.subarray(from, from + n);
  }

  /** A frame must lie within the data; its contents are read as if it were not there. */
  frame(): void {
    if (this.length8() > this.data.length - this.at) throw new PickleEnd('frame ends early');
  }

  text(n: number): string {
    const bytes = this.bytes(n);
    try {
      return utf8.decode(bytes);
    } catch {
      return this.bad('text that is not valid UTF-8');
    }
  }

  /** Strings of Python 2 are text for every name that matters; bytes outside ASCII read as Latin-1. */
  oldText(n: number): string {
    return latin1.decode(this.bytes(n));
  }

  /** An argument that ends at a newline (protocol 0 and GLOBAL). */
  line(): string {
    const end = this.data.indexOf(0x0a, this.at);
    if (end < 0) throw new PickleEnd('pickle ends early');
    const text = this.text(end - this.at);
    this.at = end + 1;
    return text;
  }

  /** Two's complement of n bytes, little-endian. */
  integer(n: number): number | bigint {
    if (n < 0 || n > LIMITS.integerBytes) this.bad(`integer of ${n} bytes, at most ${LIMITS.integerBytes} are read`);
    const bytes = this.bytes(n);
    let value = 0n;
    for (let i = n - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    if (n > 0 && bytes[n - 1]! & 0x80) value -= 1n << BigInt(8 * n);
    return narrow(value);
  }

  decimal(text = this.line()): number | bigint {
    if (text.length > 2 * LIMITS.integerBytes || !/^[+-]?[0-9]+$/.test(text)) this.bad(`bad integer ${quote(text)}`);
    return narrow(BigInt(text.replace(/^\+/, '')));
  }

  float(): PyFloat {
    const text = this.line();
    if (!/^[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|nan)$/i.test(text)) this.bad(`bad float ${quote(text)}`);
    return new PyFloat(Number(text.replace(/inf/i, 'Infinity')));
  }
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

function intOrBool(r: PickleReader): PyValue {
  const text = r.line();
  return text === '00' ? false : text === '01' ? true : r.decimal(text);
}

function unescapeUnicode(text: string): string {
  return text.replace(/\\u([0-9a-fA-F]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** Opcode -> value it pushes. */
export const SCALARS: ReadonlyMap<number, (r: PickleReader) => PyValue> = new Map<number, (r: PickleReader) => PyValue>([
  [0x4e, () => null], // NONE
  [0x88, () => true], // NEWTRUE
  [0x89, () => false], // NEWFALSE
  [0x4a, (r) => r.int32()], // BININT
  [0x4b, (r) => r.byte()], // BININT1
  [0x4d, (r) => r.uint16()], // BININT2
  [0x8a, (r) => r.integer(r.byte())], // LONG1
  [0x8b, (r) => r.integer(r.int32())], // LONG4
  [0x49, intOrBool], // INT
  [0x4c, (r) => r.decimal(r.line().replace(/L$/, ''))], // LONG
  [0x46, (r) => r.float()], // FLOAT
  [0x47, (r) => r.float64()], // BINFLOAT
  [0x58, (r) => r.text(r.length4())], // BINUNICODE
  [0x8c, (r) => r.text(r.byte())], // SHORT_BINUNICODE
  [0x8d, (r) => r.text(r.length8())], // BINUNICODE8
  [0x56, (r) => unescapeUnicode(r.line())], // UNICODE
  [0x54, (r) => r.oldText(r.length4())], // BINSTRING
  [0x55, (r) => r.oldText(r.byte())], // SHORT_BINSTRING
  [0x42, (r) => new Uint8Array(r.bytes(r.length4()))], // BINBYTES
  [0x43, (r) => new Uint8Array(r.bytes(r.byte()))], // SHORT_BINBYTES
  [0x8e, (r) => new Uint8Array(r.bytes(r.length8()))], // BINBYTES8
  [0x96, (r) => new Uint8Array(r.bytes(r.length8()))], // BYTEARRAY8
]);
