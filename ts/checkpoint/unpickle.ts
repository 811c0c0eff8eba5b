// Data-only pickle machine, protocols 0 to 5. It builds plain data; a global is a name that must be on the allow-list (globals.ts),
// and nothing else can be named, called or imported. Opcodes: CPython, Lib/pickletools.py (documentation of the format).
import { fail, quote } from './fail.js';
import { buildState, callGlobal, resolveGlobal } from './globals.js';
import { LIMITS } from './limits.js';
import { PyFloat, PyName, PyTuple, type PyValue } from './value.js';

/** Turns a persistent id into a value (a storage); must refuse what it does not know. */
export type PersistentLoad = (id: PyValue, offset: number) => PyValue;

export interface UnpickleContext {
  file: string;
  /** Offset of the pickle in the file, for messages; undefined for a compressed record. */
  base: number;
  persistentLoad?: PersistentLoad;
}

/** Thrown when the bytes end inside the pickle; a caller that holds only a part of a stream can read more. */
export class PickleEnd extends Error {}

export interface Unpickled {
  value: PyValue;
  /** Bytes used, STOP included. */
  bytes: number;
}

/** Reads one pickle. Throws CheckpointError with file and offset, or PickleEnd. */
export function unpickle(data: Uint8Array, context: UnpickleContext): Unpickled {
  return new Machine(data, context).run();
}

const MAX_PROTOCOL = 5;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const latin1 = new TextDecoder('latin1');

class Machine {
  private readonly view: DataView;
  private readonly stack: PyValue[] = [];
  /** Stack heights at the marks; nothing below the last one can be popped. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PyValue>();
  private at = 0;
  private opAt = 0;
  /** Opcodes plus the elements that constructors copied: both are bounded, else a small file could ask for any amount of work. */
  private work = 0;

  constructor(
    private readonly data: Uint8Array,
    private readonly context: UnpickleContext,
  ) {
    this.view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  }

  run(): Unpickled {
    for (;;) {
      this.opAt = this.at;
      this.spend(1);
      const op = this.data[this.take(1)]!;
      if (op === 0x2e) {
        if (this.stack.length !== 1 || this.marks.length !== 0) this.bad('STOP with more or less than one value on the stack');
        return { value: this.stack[0]!, bytes: this.at };
      }
      if (!(this.scalar(op) || this.container(op) || this.memory(op) || this.named(op))) {
        this.bad(`opcode 0x${op.toString(16).padStart(2, '0')} is unknown or not allowed`);
      }
    }
  }

  private bad(message: string): never {
    return fail({ file: this.context.file, offset: this.context.base + this.opAt }, `pickle: ${message}`);
  }

  private spend(work: number): void {
    this.work += work;
    if (this.work > LIMITS.pickleOps) this.bad(`more than ${LIMITS.pickleOps} opcodes and copied elements`);
  }

  /** Advances over n bytes and returns where they begin. */
  private take(n: number): number {
    const from = this.at;
    if (n < 0) this.bad('negative length');
    if (n > this.data.length - from) throw new PickleEnd('pickle ends early');
    this.at = from + n;
    return from;
  }

  /** A length of 8 bytes; one that no file could hold counts as beyond the end. */
  private length8(): number {
    const n = this.view.getBigUint64(this.take(8), true);
    if (n > BigInt(LIMITS.pickleBytes)) this.bad(`length ${n}, at most ${LIMITS.pickleBytes} bytes are read`);
    return Number(n);
  }

  private length4(): number {
    const n = this.view.getUint32(this.take(4), true);
    if (n > LIMITS.pickleBytes) this.bad(`length ${n}, at most ${LIMITS.pickleBytes} bytes are read`);
    return n;
  }

  private bytes(n: number): Uint8Array {
    const from = this.take(n);
    return this.data.subarray(from, from + n);
  }

  private text(n: number): string {
    const bytes = this.bytes(n);
    try {
      return utf8.decode(bytes);
    } catch {
      return this.bad('text that is not valid UTF-8');
    }
  }

  /** An argument that ends at a newline (protocol 0 and GLOBAL). */
  private line(): string {
    const end = this.data.indexOf(0x0a, this.at);
    if (end < 0) throw new PickleEnd('pickle ends early');
    if (end - this.at > LIMITS.pickleBytes) this.bad('line too long');
    const text = this.text(end - this.at);
    this.at = end + 1;
    return text;
  }

  private push(value: PyValue): true {
    this.stack.push(value);
    return true;
  }

  private floor(): number {
    return this.marks.length > 0 ? this.marks[this.marks.length - 1]! : 0;
  }

  private pop(): PyValue {
    if (this.stack.length <= this.floor()) this.bad('stack underflow');
    return this.stack.pop()!;
  }

  private top(): PyValue {
    if (this.stack.length <= this.floor()) this.bad('stack underflow');
    return this.stack[this.stack.length - 1]!;
  }

  private popMark(): PyValue[] {
    const mark = this.marks.pop();
    return mark === undefined ? this.bad('no mark on the stack') : this.stack.splice(mark);
  }

  private integer(bytes: Uint8Array): number | bigint {
    if (bytes.length > LIMITS.integerBytes) this.bad(`integer of ${bytes.length} bytes, at most ${LIMITS.integerBytes} are read`);
    let value = 0n;
    for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    if (bytes.length > 0 && bytes[bytes.length - 1]! & 0x80) value -= 1n << BigInt(8 * bytes.length);
    return narrow(value);
  }

  private decimal(text: string): number | bigint {
    if (text.length > 2 * LIMITS.integerBytes || !/^[+-]?[0-9]+$/.test(text)) this.bad(`bad integer ${quote(text)}`);
    return narrow(BigInt(text.replace(/^\+/, '')));
  }

  private scalar(op: number): boolean {
    switch (op) {
      case 0x4e: return this.push(null);
      case 0x88: return this.push(true);
      case 0x89: return this.push(false);
      case 0x4a: return this.push(this.view.getInt32(this.take(4), true));
      case 0x4b: return this.push(this.data[this.take(1)]!);
      case 0x4d: return this.push(this.view.getUint16(this.take(2), true));
      case 0x8a: return this.push(this.integer(this.bytes(this.data[this.take(1)]!)));
      case 0x8b: return this.push(this.integer(this.bytes(this.longLength())));
      case 0x49: return this.push(this.intLine());
      case 0x4c: return this.push(this.decimal(this.line().replace(/L$/, '')));
      case 0x46: return this.push(this.floatLine());
      case 0x47: return this.push(new PyFloat(this.view.getFloat64(this.take(8), false)));
      case 0x58: return this.push(this.text(this.length4()));
      case 0x8c: return this.push(this.text(this.data[this.take(1)]!));
      case 0x8d: return this.push(this.text(this.length8()));
      case 0x56: return this.push(this.unicodeLine());
      // Strings of Python 2 are text for every name that matters; bytes outside ASCII read as Latin-1.
      case 0x54: return this.push(latin1.decode(this.bytes(this.length4())));
      case 0x55: return this.push(latin1.decode(this.bytes(this.data[this.take(1)]!)));
      case 0x42: return this.push(new Uint8Array(this.bytes(this.length4())));
      case 0x43: return this.push(new Uint8Array(this.bytes(this.data[this.take(1)]!)));
      case 0x8e:
      case 0x96: return this.push(new Uint8Array(this.bytes(this.length8())));
    }
    return false;
  }

  private longLength(): number {
    const n = this.view.getInt32(this.take(4), true);
    if (n < 0 || n > LIMITS.integerBytes) this.bad(`integer of ${n} bytes, at most ${LIMITS.integerBytes} are read`);
    return n;
  }

  private intLine(): PyValue {
    const text = this.line();
    return text === '00' ? false : text === '01' ? true : this.decimal(text);
  }

  private floatLine(): PyValue {
    const text = this.line();
    if (!/^[+-]?([0-9.]+(e[+-]?[0-9]+)?|inf|nan)$/i.test(text)) this.bad(`bad float ${quote(text)}`);
    return new PyFloat(Number(text.replace(/inf/i, 'Infinity')));
  }

  private unicodeLine(): string {
    return this.line().replace(/\\u([0-9a-fA-F]{4})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }

  private container(op: number): boolean {
    switch (op) {
      case 0x28:
        this.marks.push(this.stack.length);
        return true;
      case 0x5d: return this.push([]);
      case 0x7d: return this.push(new Map());
      case 0x29: return this.push(new PyTuple([]));
      case 0x8f: return this.push(new Set());
      case 0x6c: return this.push(this.popMark());
      case 0x74: return this.push(new PyTuple(this.popMark()));
      case 0x85:
      case 0x86:
      case 0x87: return this.push(this.shortTuple(op - 0x84));
      case 0x64: return this.push(this.setItems(new Map(), this.popMark()));
      case 0x91: return this.push(new Set(this.popMark()));
      case 0x61: return this.append([this.pop()]);
      case 0x65: return this.append(this.popMark());
      case 0x73: {
        const value = this.pop();
        return this.setTop([this.pop(), value]);
      }
      case 0x75: return this.setTop(this.popMark());
      case 0x90: return this.addItems(this.popMark());
      case 0x30:
        // POP right after MARK removes the mark, as in CPython.
        if (this.marks.length > 0 && this.stack.length === this.floor()) this.marks.pop();
        else this.pop();
        return true;
      case 0x31:
        this.popMark();
        return true;
      case 0x32: return this.push(this.top());
    }
    return false;
  }

  private shortTuple(n: number): PyTuple {
    const items: PyValue[] = [];
    for (let i = 0; i < n; i++) items.unshift(this.pop());
    return new PyTuple(items);
  }

  private append(items: PyValue[]): true {
    const list = this.top();
    if (!Array.isArray(list)) return this.bad('APPEND to something that is no list');
    for (const item of items) list.push(item);
    return true;
  }

  private setTop(items: PyValue[]): true {
    const dict = this.top();
    if (!(dict instanceof Map)) return this.bad('SETITEM on something that is no dict');
    this.setItems(dict, items);
    return true;
  }

  private setItems(dict: Map<PyValue, PyValue>, items: PyValue[]): Map<PyValue, PyValue> {
    if (items.length % 2 !== 0) this.bad('odd number of values for a dict');
    for (let i = 0; i < items.length; i += 2) {
      const key = items[i]!;
      dict.set(key instanceof PyFloat ? key.value : key, items[i + 1]!);
    }
    return dict;
  }

  private addItems(items: PyValue[]): true {
    const set = this.top();
    if (!(set instanceof Set)) return this.bad('ADDITEMS to something that is no set');
    for (const item of items) set.add(item);
    return true;
  }

  private memory(op: number): boolean {
    switch (op) {
      case 0x71: return this.store(this.data[this.take(1)]!);
      case 0x72: return this.store(this.view.getUint32(this.take(4), true));
      case 0x70: return this.store(this.decimal(this.line()));
      case 0x94: return this.store(this.memo.size);
      case 0x68: return this.recall(this.data[this.take(1)]!);
      case 0x6a: return this.recall(this.view.getUint32(this.take(4), true));
      case 0x67: return this.recall(this.decimal(this.line()));
    }
    return false;
  }

  private store(index: number | bigint): true {
    this.memo.set(Number(index), this.top());
    return true;
  }

  private recall(index: number | bigint): true {
    const value = this.memo.get(Number(index));
    if (value === undefined) return this.bad(`memo ${index} was never stored`);
    return this.push(value);
  }

  private named(op: number): boolean {
    const where = { file: this.context.file, offset: this.context.base + this.opAt };
    switch (op) {
      case 0x80: {
        const protocol = this.data[this.take(1)]!;
        if (protocol > MAX_PROTOCOL) this.bad(`protocol ${protocol}, at most ${MAX_PROTOCOL} is read`);
        return true;
      }
      case 0x95: {
        const bytes = this.length8();
        if (bytes > this.data.length - this.at) throw new PickleEnd('frame ends early');
        return true;
      }
      case 0x63: {
        const module = this.line();
        return this.push(resolveGlobal(module, this.line(), where));
      }
      case 0x93: {
        const name = this.pop();
        const module = this.pop();
        if (typeof name !== 'string' || typeof module !== 'string') return this.bad('STACK_GLOBAL without two names');
        return this.push(resolveGlobal(module, name, where));
      }
      case 0x52:
      case 0x81: {
        const args = this.pop();
        const callee = this.pop();
        if (!(callee instanceof PyName) || !(args instanceof PyTuple)) return this.bad('call of something that is no allowed name');
        for (const arg of args.items) this.spend(elements(arg));
        return this.push(callGlobal(callee, args.items, where));
      }
      case 0x62: {
        const state = this.pop();
        buildState(this.top(), state, where);
        return true;
      }
      case 0x51: {
        if (!this.context.persistentLoad) return this.bad('persistent id where none is expected');
        return this.push(this.context.persistentLoad(this.pop(), where.offset));
      }
    }
    return false;
  }
}

function elements(value: PyValue): number {
  if (Array.isArray(value) || typeof value === 'string' || value instanceof Uint8Array) return value.length;
  if (value instanceof PyTuple) return value.items.length;
  return value instanceof Map || value instanceof Set ? value.size : 0;
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
