import './polyfill.js';
import { resolve } from 'node:path';
import { checkEnum, checkFunction, checkInt, checkOptions, checkShape, checkSignal, checkString, refuse } from '../core/check.js';
import { DTYPES, type DType, dtypeCode, dtypeSize, type TypedData } from '../core/dtype.js';
import { ArgumentError, BusyError, DisposedError, EngineClosedError, ShapeError } from '../core/errors.js';
import { fits, infer, resolveAttrs, showShape, sizeOf } from '../core/shapes.js';
import type { OpDecl, OutputSpec, Sink } from '../core/types.js';
import { Ops } from '../gen/ops.js';
import type { Addon, Handle, NativeError, NativeStats } from './addon.js';
import { checkApart, placeOf } from './apart.js';
import { Capture, type CaptureHost, Recording, runCapture } from './capture.js';
import { dtypeOf, ownMemory, writable } from './data.js';
import { CAPTURE, Encoder } from './encoder.js';
import { EngineEmitter } from './events.js';
import type { DeviceInfo, EngineStats, MemoryInfo } from './info.js';
import { toError, typed } from './late.js';
import { type LeakNet, makeLeakNet } from './leaks.js';
import { runScope, Scope, type ScopeHost, type TensorOwner } from './scope.js';
import { SlotIds } from './slots.js';
import { type Place, Tensor, type TensorHost } from './tensor.js';

/** Queued work above this multiple of the bound is refused. */
const HARD = 4;

/** What createEngine hands over. @internal */
export interface EngineParts {
  readonly addon: Addon;
  readonly maxCommands: number;
  readonly maxBytes: number;
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
  readonly #parts: EngineParts;
  #handle: Handle | undefined;
  readonly #encoder = new Encoder();
  readonly #slots = new SlotIds();
  readonly #leaks: LeakNet;
  readonly #inFlight = new Float64Array(2);
  #owner: TensorOwner | undefined;
  #group = 0;
  #nextGroup = 1;
  #nextCapture = 1;
  #recording: Recording | undefined;
  #scheduled = false;
  #budget = 0;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(parts: EngineParts, handle: Handle) {
    super();
    this.#parts = parts;
    this.#addon = parts.addon;
    this.#handle = handle;
    const info = this.describe();
    this.device = info.name;
    this.threads = info.threads;
    this.#leaks = makeLeakNet(this, parts.debug);
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
    const handle = this.#open();
    this.#reserve(data.byteLength);
    this.#submit();
    return this.#source({ dtype: type, shape: dims }, 'tensor', (slot, generation) =>
      this.#addon.upload(handle, slot, generation, dtypeCode(type), dims, own),
    );
  }

  /** A tensor whose values are unspecified until an op writes them in place or write() replaces them; default f32. */
  empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
    this.#open();
    const dims = [...checkShape('empty: shape', shape)];
    checkEnum('empty: dtype', dtype, DTYPES);
    if (!fits(dims, dtype)) throw new ShapeError(`empty: ${dtype}${showShape(dims)} is more than 64 TiB`);
    this.#reserve(0);
    if (this.#encoder.full) this.#submit();
    const out = this.#make({ dtype, shape: dims }, 'empty', this.#slots.take());
    this.#encoder.empty(out, out, this.#group);
    this.#schedule();
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
    const handle = this.#open();
    this.#reserve(0);
    this.#submit();
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
    this.#open();
    this.#checkTensor('view: base', base);
    checkInt('view: offset', offset, 0);
    const dims = [...checkShape('view: shape', shape)];
    if (offset + sizeOf(dims) > base.size)
      throw new ShapeError(`view: ${showShape(dims)} from element ${offset} on does not fit ${base.dtype}${showShape(base.shape)}`);
    this.#reserve(0);
    if (this.#encoder.full) this.#submit();
    const bytes = offset * dtypeSize(base.dtype);
    const { slot, generation, at } = placeOf(base);
    const out = this.#make({ dtype: base.dtype, shape: dims }, 'view', this.#slots.take(), { slot, generation, at: at + bytes });
    this.#encoder.view(base, bytes, out, out, this.#group);
    out.ofFile = base.ofFile;
    this.#recording?.uses(base);
    this.#schedule();
    return out;
  }

  /** Runs fn at once and disposes every tensor created inside, except those in its return value. For async work see openScope(). */
  scope<R>(fn: () => R): R {
    this.#open();
    return runScope(this.#host, this.#owner, this.#group, fn);
  }

  /**
   * Runs fn at once and records its op calls, so that replay() runs them again without JavaScript. fn is synchronous; tensors made inside
   * and not returned belong to the capture and are gone for others. Give later replays their input with tensor.write().
   */
  capture<R>(fn: () => R): Capture<R> {
    this.#open();
    checkFunction('capture: fn', fn);
    this.#notRecording('capture');
    const id = this.#nextCapture++;
    const recording = new Recording();
    this.#control(CAPTURE.begin, id);
    this.#recording = recording;
    let outputs: R;
    try {
      outputs = runCapture(this.#host, this.#owner, this.#group, fn);
      this.#control(CAPTURE.end, id);
    } catch (e) {
      if (this.#handle) this.#control(CAPTURE.drop, id);
      throw e;
    } finally {
      this.#recording = undefined;
    }
    const capture = new Capture(this.#captures, id, recording.inputs, outputs);
    this.#leaks.watchCapture(capture, id);
    return capture;
  }

  /** A scope for async work; close it, or declare it with `using`. When the signal fires, its commands still queued are cancelled. */
  openScope(options: { signal?: AbortSignal | undefined } = {}): Scope {
    this.#open();
    checkOptions('openScope', options, ['signal']);
    return new Scope(this.#host, this.#nextGroup++, checkSignal(options.signal));
  }

  /** Resolves when the work in flight is below half the bound. Await it between chunks of enqueued work. */
  async throttle(): Promise<void> {
    const handle = this.#open();
    this.#notRecording('throttle');
    this.#submit();
    await typed(this.#addon.throttle(handle));
    this.#tellMemory();
  }

  /** Resolves when all that is enqueued is done; rejects with the first late error nobody was told. */
  async flush(): Promise<void> {
    const handle = this.#open();
    this.#notRecording('flush');
    this.#submit();
    await typed(this.#addon.flush(handle));
    this.#tellMemory();
  }

  memory(): MemoryInfo {
    const { liveBytes, poolBytes, peakBytes, mappedBytes } = this.#stats();
    return { liveBytes, poolBytes, peakBytes, mappedBytes, tensors: this.#slots.used };
  }

  stats(): EngineStats {
    const { commands, inFlightCommands, inFlightBytes, failed, ops } = this.#stats();
    return { commands, inFlightCommands, inFlightBytes, failed, ops };
  }

  /** What the device is: name, threads, instruction sets. */
  describe(): DeviceInfo {
    return JSON.parse(this.#stats().describe) as DeviceInfo;
  }

  get closed(): boolean {
    return this.#handle === undefined;
  }

  /** Executes what is enqueued, then releases everything. Rejects with a late error nobody was told; the engine is closed even so. */
  close(): Promise<void> {
    if (this.#closing) return this.#closing;
    const handle = this.#open();
    this.#submit();
    this.#handle = undefined;
    this.#leaks.close();
    this.#closing = typed(this.#addon.close(handle));
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
    this.#open();
    for (let i = 0; i < inputs.length; i++) {
      const t = inputs[i];
      if (t !== undefined && t !== null) this.#checkInput(op, i, t);
    }
    const attrs = resolveAttrs(op, given);
    const specs = infer(op, inputs, attrs);
    checkApart(op, inputs);
    this.#reserve(0);
    if (this.#encoder.full) this.#submit();
    const outputs = specs.map((s) => this.#make(s, op.name, this.#slots.take()));
    this.#encoder.op(op, inputs, outputs, specs, attrs, this.#group);
    if (this.#recording) for (const t of inputs) if (t) this.#recording.uses(t);
    this.#schedule();
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
    this.#recording?.made(t);
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
      const handle = this.#open();
      this.#notRecording('read');
      this.#submit();
      await typed(this.#addon.read(handle, t.slot, t.generation, into));
    },
    write: (t, data) => {
      const handle = this.#open();
      this.#notRecording('write');
      const own = writable(t, data);
      this.#reserve(own.byteLength);
      this.#submit();
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
      if (!this.#handle) return;
      this.#submit();
      this.#addon.cancel(this.#handle, group);
    },
    endGroup: (group) => {
      if (!this.#handle) return;
      if (this.#encoder.full) this.#submit();
      this.#encoder.endGroup(group);
      this.#schedule();
    },
  };

  readonly #captures: CaptureHost = {
    replay: (_, id) => {
      this.#open();
      this.#notRecording('replay');
      this.#reserve(0);
      this.#control(CAPTURE.replay, id);
    },
    drop: (capture, id) => {
      this.#leaks.unwatch(capture);
      this.dropCapture(id);
    },
  };

  /** @internal */
  dropCapture(id: number): void {
    if (this.#handle) this.#control(CAPTURE.drop, id);
  }

  #control(command: number, id: number): void {
    if (this.#encoder.full) this.#submit();
    this.#encoder.capture(command, id, this.#group);
    this.#schedule();
  }

  // What waits for a result, or happens once only, has no place among calls that are run again.
  #notRecording(what: string): void {
    if (this.#recording) throw new ArgumentError(`${what}: not inside the function of a capture`);
  }

  /** @internal */
  releaseSlot(slot: number, generation: number): void {
    this.#slots.give(slot);
    if (!this.#handle) return;
    if (this.#encoder.full) this.#submit();
    this.#encoder.dispose(slot, generation);
    this.#schedule();
  }

  #open(): Handle {
    if (!this.#handle) throw new EngineClosedError();
    return this.#handle;
  }

  #stats(): NativeStats {
    return this.#addon.stats(this.#open());
  }

  // Refuses work above the hard limit. The addon is asked only once per `budget` commands.
  #reserve(bytes: number): void {
    if (bytes === 0 && this.#budget-- > 0) return;
    const { maxCommands, maxBytes } = this.#parts;
    this.#addon.progress(this.#open(), this.#inFlight);
    const commands = (this.#inFlight[0] as number) + this.#encoder.commands;
    const held = this.#inFlight[1] as number;
    if (commands >= HARD * maxCommands) {
      throw new BusyError(`${commands} commands are in flight: await engine.throttle() or raise maxInFlightCommands (${maxCommands})`);
    }
    if (held > 0 && held + bytes > HARD * maxBytes) {
      throw new BusyError(
        `${held} bytes are in flight and ${bytes} come on top: await engine.throttle() or raise maxInFlightBytes (${maxBytes})`,
      );
    }
    this.#budget = Math.min(256, HARD * maxCommands - commands - 1);
  }

  #tellMemory(): void {
    if (this.#handle && this.listenerCount('memory') > 0) this.emit('memory', this.memory());
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (this.#handle) this.#submit();
    });
  }

  #submit(): void {
    const { length, words } = this.#encoder;
    if (length === 0) return;
    this.#encoder.clear();
    try {
      this.#addon.submit(this.#open(), words, length);
    } catch (e) {
      throw toError(e);
    }
  }
}
