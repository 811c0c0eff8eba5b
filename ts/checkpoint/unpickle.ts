// Data-only pickle machine, protocols 0 to 5. It builds plain data; a global is a name that must be on the allow-list (globals.ts),
// and nothing else can be named, called or imported. Opcodes: CPython, Lib/pickletools.py (documentation of the format).
import { buildState, callGlobal, resolveGlobal } from './globals.js';
import { LIMITS } from './limits.js';
import { PickleReader, SCALARS } from './pickle-reader.js';
import { PyFloat, PyName, PyTuple, type PyValue } from './value.js';

/** Turns a persistent id into a value (a storage); must refuse what it does not know. */
export type PersistentLoad = (id: PyValue, offset: number) => PyValue;

export interface UnpickleContext {
  file: string;
  /** Offset of the pickle in the file, for messages. */
  base: number;
  persistentLoad?: PersistentLoad;
}

export interface Unpickled {
  value: PyValue;
  /** Bytes used, STOP included. */
  bytes: number;
}

/** Reads one pickle. Throws CheckpointError with file and offset, or PickleEnd. */
export function unpickle(data: Uint8Array, context: UnpickleContext): Unpickled {
  return new Machine(new PickleReader(data, context.file, context.base), context.persistentLoad).run();
}

const MAX_PROTOCOL = 5;
const STOP = 0x2e;

class Machine {
  private readonly stack: PyValue[] = [];
  /** Stack heights at the marks; nothing below the last one can be popped. */
  private readonly marks: number[] = [];
  private readonly memo = new Map<number, PyValue>();
  /** Opcodes plus the elements that constructors copied: both are bounded, else a small file could ask for any amount of work. */
  private work = 0;

  constructor(
    private readonly reader: PickleReader,
    private readonly persistentLoad: PersistentLoad | undefined,
  ) {}

  run(): Unpickled {
    for (;;) {
      this.reader.opAt = this.reader.at;
      this.spend(1);
      const op = this.reader.byte();
      if (op === STOP) return this.stop();
      const scalar = SCALARS.get(op);
      if (scalar) this.push(scalar(this.reader));
      else if (!(this.container(op) || this.change(op) || this.memory(op) || this.named(op))) {
        this.bad(`opcode 0x${op.toString(16).padStart(2, '0')} is unknown or not allowed`);
      }
    }
  }

  private stop(): Unpickled {
    if (this.stack.length !== 1 || this.marks.length !== 0) this.bad('STOP with more or less than one value on the stack');
    return { value: this.stack[0]!, bytes: this.reader.at };
  }

  private bad(message: string): never {
    return this.reader.bad(message);
  }

  private spend(work: number): void {
    this.work += work;
    if (this.work > LIMITS.pickleOps) this.bad(`more than ${LIMITS.pickleOps} opcodes and copied elements`);
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

  /** Opcodes that push a container. */
  private container(op: number): boolean {
    switch (op) {
      case 0x5d: // EMPTY_LIST
        return this.push([]);
      case 0x7d: // EMPTY_DICT
        return this.push(new Map());
      case 0x29: // EMPTY_TUPLE
        return this.push(new PyTuple([]));
      case 0x8f: // EMPTY_SET
        return this.push(new Set());
      case 0x6c: // LIST
        return this.push(this.popMark());
      case 0x74: // TUPLE
        return this.push(new PyTuple(this.popMark()));
      case 0x85: // TUPLE1, TUPLE2, TUPLE3
      case 0x86:
      case 0x87:
        return this.push(this.shortTuple(op - 0x84));
      case 0x64: // DICT
        return this.push(this.setItems(new Map(), this.popMark()));
      case 0x91: // FROZENSET
        return this.push(new Set(this.popMark()));
    }
    return false;
  }

  /** Opcodes that fill a container or move values on the stack. */
  private change(op: number): boolean {
    switch (op) {
      case 0x28: // MARK
        this.marks.push(this.stack.length);
        return true;
      case 0x61: // APPEND
        return this.append([this.pop()]);
      case 0x65: // APPENDS
        return this.append(this.popMark());
      case 0x73: // SETITEM
        return this.setTop(this.shortTuple(2).items);
      case 0x75: // SETITEMS
        return this.setTop(this.popMark());
      case 0x90: // ADDITEMS
        return this.addItems(this.popMark());
      case 0x30: // POP: right after MARK it removes the mark, as in CPython
        if (this.marks.length > 0 && this.stack.length === this.floor()) this.marks.pop();
        else this.pop();
        return true;
      case 0x31: // POP_MARK
        this.popMark();
        return true;
      case 0x32: // DUP
        return this.push(this.top());
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

  private setTop(items: readonly PyValue[]): true {
    const dict = this.top();
    if (!(dict instanceof Map)) return this.bad('SETITEM on something that is no dict');
    this.setItems(dict, items);
    return true;
  }

  private setItems(dict: Map<PyValue, PyValue>, items: readonly PyValue[]): Map<PyValue, PyValue> {
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

  /** A Map, not an array: an index is a number from the file. */
  private memory(op: number): boolean {
    switch (op) {
      case 0x71: // BINPUT
        return this.store(this.reader.byte());
      case 0x72: // LONG_BINPUT
        return this.store(this.reader.uint32());
      case 0x70: // PUT
        return this.store(this.reader.decimal());
      case 0x94: // MEMOIZE
        return this.store(this.memo.size);
      case 0x68: // BINGET
        return this.recall(this.reader.byte());
      case 0x6a: // LONG_BINGET
        return this.recall(this.reader.uint32());
      case 0x67: // GET
        return this.recall(this.reader.decimal());
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
    switch (op) {
      case 0x80: // PROTO
        return this.protocol(this.reader.byte());
      case 0x95: // FRAME
        this.reader.frame();
        return true;
      case 0x63: // GLOBAL
        return this.global(this.reader.line(), this.reader.line());
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.shortTuple(2).items;
        if (typeof name !== 'string' || typeof module !== 'string') return this.bad('STACK_GLOBAL without two names');
        return this.global(module, name);
      }
      case 0x52: // REDUCE, NEWOBJ
      case 0x81:
        return this.call();
      case 0x62: {
        // BUILD
        const state = this.pop();
        buildState(this.top(), state, this.reader.where);
        return true;
      }
      case 0x51: // BINPERSID
        if (!this.persistentLoad) return this.bad('persistent id where none is expected');
        return this.push(this.persistentLoad(this.pop(), this.reader.where.offset));
    }
    return false;
  }

  private protocol(version: number): true {
    if (version > MAX_PROTOCOL) this.bad(`protocol ${version}, at most ${MAX_PROTOCOL} is read`);
    return true;
  }

  private global(module: string, name: string): true {
    return this.push(resolveGlobal(module, name, this.reader.where));
  }

  private call(): true {
    const args = this.pop();
    const callee = this.pop();
    if (!(callee instanceof PyName) || !(args instanceof PyTuple)) return this.bad('call of something that is no allowed name');
    for (const arg of args.items) this.spend(elements(arg));
    return this.push(callGlobal(callee, args.items, this.reader.where));
  }
}

/** Elements a constructor may copy from an argument. */
function elements(value: PyValue): number {
  if (Array.isArray(value) || typeof value === 'string' || value instanceof Uint8Array) return value.length;
  if (value instanceof PyTuple) return value.items.length;
  return value instanceof Map || value instanceof Set ? value.size : 0;
}
