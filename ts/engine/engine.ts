import './polyfill.js';
import { resolve } from 'node:path';
import { checkEnum, checkFunction, checkInt, checkOptions, checkShape, checkSignal, checkString, refuse } from '../core/check.js';
import { DTYPES, type DType, dtypeCode, dtypeSize, type TypedData } from '../core/dtype.js';
import { ArgumentError, DisposedError, ShapeError } from '../core/errors.js';
import { fits, infer, resolveAttrs, showShape, sizeOf } from '../core/shapes.js';
import type { OpDecl, OutputSpec, Sink } from '../core/types.js';
import { Ops } from '../gen/ops.js';
import type { Addon, Handle, NativeError } from './addon.js';
import { checkApart, placeOf } from './apart.js';
import { type Capture, runCapture } from './capture.js';
import { Captures } from './captures.js';
import { dtypeOf, ownMemory, writable } from './data.js';
import { EngineEmitter } from './events.js';
import type { DeviceInfo, EngineStats, MemoryInfo } from './info.js';
import { toError, typed } from './late.js';
import { type LeakNet, makeLeakNet } from './leaks.js';
import { CommandQueue, type QueueParts } from './queue.js';
import { runScope, Scope, type ScopeHost, type TensorOwner } from './scope.js';
import { SlotIds } from './slots.js';
import { type Place, Tensor, type TensorHost } from './tensor.js';

/** What createEngine hands over. @internal */
export interface EngineParts extends QueueParts {
  readonly debug: boolean;
}

/**
 * An in-order stream of work on one device. Op calls return at once; a worker thread executes them in program order. Errors of
 * arguments are thrown by the call, errors of execution by the next read(), flush() or close().
 */
export class Engine extends EngineEmitter implements AsyncDisposable {
  /** The ops, one method each. */
  readonly ops: Ops<Tensor>;
  /** What the ops call; a tape calls it for them. @internal */
  readonly sink: Sink<Tensor>;
  readonly device: string;
  readonly threads: number;
  readonly #addon: Addon;
  readonly #queue: CommandQueue;
  readonly #slots = new SlotIds();
  readonly #leaks: LeakNet;
  #owner: TensorOwner | undefined;
  #group = 0;
  #nextGroup = 1;
  readonly #captures: Captures;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(parts: EngineParts, handle: Handle) {
    super();
    this.#addon = parts.addon;
    this.#queue = new CommandQueue(parts, handle);
    const info = this.describe();
    this.device = info.name;
    this.threads = info.threads;
    this.#leaks = makeLeakNet(this, parts.debug);
    this.#captures = new Captures(this.#queue, this.#leaks, () => this.#group);
    this.sink = { run: (op, inputs, attrs) => this.#run(op, inputs, attrs) };
    this.ops = new Ops(this.sink);
  }

  /**
   * A tensor with a copy of data. Float32Array gives f32, Int32Array i32, Uint8Array u8; a Uint16Array holds the bits of f16 or
   * bf16 and needs dtype.
   */
  tensor(data: TypedData, shape: readonly number[], dtype?: DType): Tensor {
    const type = dtypeOf(data, dtype);
    const dims = [...checkShape('tensor: shape', shape)];
    if (sizeOf(dims) !== data.length)
      throw new ShapeError(`tensor: shape ${showShape(dims)} has ${sizeOf(dims)} elements, data has ${data.length}`);
    const own = ownMemory(data);
    const handle = this.#queue.open();
    this.#queue.reserve(data.byteLength);
    this.#queue.submit();
    return this.#source({ dtype: type, shape: dims }, 'tensor', (slot, generation) =>
      this.#addon.upload(handle, slot, generation, dtypeCode(type), dims, own),
    );
  }

  /** A tensor whose values are unspecified until an op writes them in place or write() replaces them; default f32. */
  empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    this.#queue.open();
    const dims = [...checkShape('empty: shape', shape)];
    checkEnum('empty: dtype', dtype, DTYPES);
    if (!fits(dims, dtype)) throw new ShapeError(`empty: ${dtype}${showShape(dims)} is more than 64 TiB`);
    this.#queue.reserve(0);
    const commands = this.#queue.room();
    const out = this.#make({ dtype, shape: dims }, 'empty', this.#slots.take());
    commands.empty(out, out, this.#group);
    return out;
  }

  /**
   * A tensor that is a range of a file: mapped, without a copy, where byteOffset is a multiple of the element size. The file must
   * stay as it is while the tensor lives; one that has become too short is a late error.
   */
  fromFile(path: string, byteOffset: number, shape: readonly number[], dtype: DType): Tensor {
    const file = resolve(checkString('fromFile: path', path));
    if (file.includes('\0')) refuse('fromFile: path', path, 'a path without a zero character');
    checkInt('fromFile: byteOffset', byteOffset, 0);
    const dims = [...checkShape('fromFile: shape', shape)];
    checkEnum('fromFile: dtype', dtype, DTYPES);
    if (!fits(dims, dtype)) throw new ShapeError(`fromFile: ${dtype}${showShape(dims)} is more than 64 TiB`);
    const handle = this.#queue.open();
    this.#queue.reserve(0);
    this.#queue.submit();
    const tensor = this.#source({ dtype, shape: dims }, 'fromFile', (slot, generation) =>
      this.#addon.map(handle, slot, generation, dtypeCode(dtype), dims, file, byteOffset),
    );
    tensor.ofFile = true;
    return tensor;
  }

  /**
   * A tensor that shares the memory of another from element `offset` on; no values are copied, and an op that writes one in place changes
   * both. The memory is released with the last of them. Throws ShapeError where it does not fit.
   */
  view(base: Tensor, offset: number, shape: readonly number[]): Tensor {
    this.#queue.open();
    this.#checkTensor('view: base', base);
    checkInt('view: offset', offset, 0);
    const dims = [...checkShape('view: shape', shape)];
    if (offset + sizeOf(dims) > base.size)
      throw new ShapeError(`view: ${showShape(dims)} from element ${offset} on does not fit ${base.dtype}${showShape(base.shape)}`);
    this.#queue.reserve(0);
    const commands = this.#queue.room();
    const bytes = offset * dtypeSize(base.dtype);
    const { slot, generation, at } = placeOf(base);
    const out = this.#make({ dtype: base.dtype, shape: dims }, 'view', this.#slots.take(), { slot, generation, at: at + bytes });
    commands.view(base, bytes, out, out, this.#group);
    out.ofFile = base.ofFile;
    this.#captures.recording?.uses(base);
    return out;
  }

  /** Runs fn at once and disposes every tensor created inside, except those in its return value. For async work see openScope(). */
  scope<R>(fn: () => R): R {
    this.#queue.open();
    return runScope(this.#host, this.#owner, this.#group, fn);
  }

  /**
   * Runs fn at once and records its op calls, so that replay() runs them again without JavaScript. fn is synchronous; tensors made inside
   * and not returned belong to the capture and are gone for others. Give later replays their input with tensor.write().
   */
  capture<R>(fn: () => R): Capture<R> {
    this.#queue.open();
    checkFunction('capture: fn', fn);
    return this.#captures.record(() => runCapture(this.#host, this.#owner, this.#group, fn));
  }

  /** A scope for async work; close it, or declare it with `using`. When the signal fires, its commands still queued are cancelled. */
  openScope(options: { signal?: AbortSignal | undefined } = {}): Scope {
    this.#queue.open();
    checkOptions('openScope', options, ['signal']);
    return new Scope(this.#host, this.#nextGroup++, checkSignal(options.signal));
  }

  /** Resolves when the work in flight is below half the bound. Await it between chunks of enqueued work. */
  async throttle(): Promise<void> {
    const handle = this.#queue.open();
    this.#captures.refuse('throttle');
    this.#queue.submit();
    await typed(this.#addon.throttle(handle));
    this.#tellMemory();
  }

  /** Resolves when all that is enqueued is done; rejects with the first late error nobody was told. */
  async flush(): Promise<void> {
    const handle = this.#queue.open();
    this.#captures.refuse('flush');
    this.#queue.submit();
    await typed(this.#addon.flush(handle));
    this.#tellMemory();
  }

  memory(): MemoryInfo {
    const { liveBytes, poolBytes, peakBytes, mappedBytes } = this.#queue.stats();
    return { liveBytes, poolBytes, peakBytes, mappedBytes, tensors: this.#slots.used };
  }

  stats(): EngineStats {
    const { commands, inFlightCommands, inFlightBytes, failed, replays, ops } = this.#queue.stats();
    return { commands, inFlightCommands, inFlightBytes, failed, replays, ops };
  }

  /** What the device is: name, threads, instruction sets. */
  describe(): DeviceInfo {
    return JSON.parse(this.#queue.stats().describe) as DeviceInfo;
  }

  get closed(): boolean {
    return this.#queue.closed;
  }

  /** Executes what is enqueued, then releases everything. Rejects with a late error nobody was told; the engine is closed even so. */
  close(): Promise<void> {
    if (this.#closing) return this.#closing;
    this.#leaks.close();
    this.#closing = this.#queue.close();
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @internal */
  late(error: NativeError): void {
    if (this.listenerCount('error') > 0) this.emit('error', toError(error));
  }

  #run(op: OpDecl, inputs: readonly (Tensor | undefined)[], given: object): Tensor | undefined {
    this.#queue.open();
    for (let i = 0; i < inputs.length; i++) {
      const t = inputs[i];
      if (t !== undefined && t !== null) this.#checkInput(op, i, t);
    }
    const attrs = resolveAttrs(op, given);
    const specs = infer(op, inputs, attrs);
    checkApart(op, inputs);
    this.#queue.reserve(0);
    const commands = this.#queue.room();
    const outputs = specs.map((s) => this.#make(s, op.name, this.#slots.take()));
    commands.op(op, inputs, outputs, specs, attrs, this.#group);
    const { recording } = this.#captures;
    if (recording) for (const t of inputs) if (t) recording.uses(t);
    return outputs[0];
  }

  #checkInput(op: OpDecl, i: number, t: unknown): void {
    if (t instanceof Tensor && t.engine === this && !t.disposed) return;
    this.#checkTensor(`[${op.name}] ${op.inputs[i]?.name}`, t);
  }

  #checkTensor(name: string, t: unknown): void {
    if (!(t instanceof Tensor)) refuse(name, t, 'a Tensor');
    if (t.engine !== this) throw new ArgumentError(`${name} belongs to another engine`);
    if (t.disposed) throw new DisposedError(`${name} ${t.dtype}${showShape(t.shape)} is disposed`);
  }

  // A tensor that the addon is asked for at once; a refused call leaves no trace.
  #source(spec: OutputSpec, made: string, ask: (slot: number, generation: number) => void): Tensor {
    const slot = this.#slots.take();
    try {
      ask(slot, this.#slots.generation(slot));
    } catch (e) {
      this.#slots.give(slot);
      throw toError(e);
    }
    return this.#make(spec, made, slot);
  }

  #make(spec: OutputSpec, made: string, slot: number, place?: Place): Tensor {
    const t = new Tensor(this, this.#host, slot, this.#slots.generation(slot), spec.dtype, Object.freeze(spec.shape), place);
    this.#captures.recording?.made(t);
    if (this.#owner) this.#owner.adopt(t);
    else this.#leaks.watch(t, `made by ${made}`);
    return t;
  }

  readonly #host: TensorHost & ScopeHost = {
    release: (t) => {
      this.#leaks.unwatch(t);
      this.releaseSlot(t.slot, t.generation);
    },
    download: async (t, into) => {
      const handle = this.#queue.open();
      this.#captures.refuse('read');
      this.#queue.submit();
      await typed(this.#addon.read(handle, t.slot, t.generation, into));
    },
    write: (t, data) => {
      const handle = this.#queue.open();
      this.#captures.refuse('write');
      const own = writable(t, data);
      this.#queue.reserve(own.byteLength);
      this.#queue.submit();
      try {
        this.#addon.write(handle, t.slot, t.generation, dtypeCode(t.dtype), t.shape, own);
      } catch (e) {
        throw toError(e);
      }
    },
    enter: (owner, group, fn) => {
      const [outer, outerGroup] = [this.#owner, this.#group];
      this.#owner = owner;
      this.#group = group;
      try {
        return fn();
      } finally {
        this.#owner = outer;
        this.#group = outerGroup;
      }
    },
    released: (t) => this.#leaks.watch(t, 'kept from a scope'),
    watchScope: (scope, slots) => this.#leaks.watchScope(scope, slots),
    unwatch: (watched) => this.#leaks.unwatch(watched),
    cancel: (group) => {
      if (this.#queue.closed) return;
      this.#queue.submit();
      this.#addon.cancel(this.#queue.open(), group);
    },
    endGroup: (group) => {
      if (!this.#queue.closed) this.#queue.room().endGroup(group);
    },
  };

  /** @internal */
  dropCapture(id: number): void {
    this.#captures.release(id);
  }

  /** @internal */
  releaseSlot(slot: number, generation: number): void {
    this.#slots.give(slot);
    if (!this.#queue.closed) this.#queue.room().dispose(slot, generation);
  }

  #tellMemory(): void {
    if (!this.#queue.closed && this.listenerCount('memory') > 0) this.emit('memory', this.memory());
  }
}
