import { checkBoolean, checkEnum, checkInt, checkOptions } from '../core/check.js';
import { UnsupportedError } from '../core/errors.js';
import type { Handle, NativeError } from './addon.js';
import { Engine } from './engine.js';
import { toError, typed } from './late.js';
import { loadAddon } from './loader.js';

export interface EngineOptions {
  /** Default 'cpu'. 'null' computes nothing and is for tests. */
  device?: 'cpu' | 'null' | 'cuda' | undefined;
  /** CPU threads; default all cores the process may use. */
  threads?: number | undefined;
  /** Which GPU; default 0. */
  deviceIndex?: number | undefined;
  /** Bound on bytes of uploads and commands in flight; default 256 MiB. Four times as much is refused with BusyError. */
  maxInFlightBytes?: number | undefined;
  /** Bound on commands in flight; default 16384. Four times as many are refused with BusyError. */
  maxInFlightCommands?: number | undefined;
  /** Released memory that the engine keeps for its next tensors; default 1 GiB. Training reuses all of it in every step: give more there. */
  maxCachedBytes?: number | undefined;
  /** 'cuda': products of f32 may round their operands to tf32 (10 bits of mantissa), which is several times as fast; default false. */
  tf32?: boolean | undefined;
  /** Emits a warning naming the op that made a tensor which was never disposed. */
  debug?: boolean | undefined;
  /** Fault injection of the null device. @internal */
  fault?: Readonly<Record<string, number>> | undefined;
}

const KNOWN = ['device', 'threads', 'deviceIndex', 'maxInFlightBytes', 'maxInFlightCommands', 'maxCachedBytes', 'tf32', 'debug', 'fault'];

/** Opens a device. Throws UnsupportedError where it is not there, with the reason. */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  checkOptions('createEngine', options, KNOWN);
  const device = checkEnum('device', options.device ?? 'cpu', ['cpu', 'null', 'cuda']);
  const threads = checkInt('threads', options.threads ?? 0, 0, 1024);
  const index = checkInt('deviceIndex', options.deviceIndex ?? 0, 0, 255);
  const maxBytes = checkInt('maxInFlightBytes', options.maxInFlightBytes ?? 2 ** 28, 4096, 2 ** 46);
  const maxCommands = checkInt('maxInFlightCommands', options.maxInFlightCommands ?? 16384, 16, 2 ** 24);
  const cached = checkInt('maxCachedBytes', options.maxCachedBytes ?? 2 ** 30, 0, 2 ** 46);
  const tf32 = checkBoolean('tf32', options.tf32 ?? false);
  if (tf32 && device !== 'cuda') throw new UnsupportedError(`tf32 is a format of the device cuda, the device is ${device}`);
  const addon = loadAddon();
  // The addon holds this callback: through a weak reference, so that an engine nobody closed can be collected.
  let late: WeakRef<Engine> | undefined;
  // A listener that throws does so in a microtask, where it is an uncaught exception as anywhere else.
  const onLate = (e: NativeError): void => queueMicrotask(() => late?.deref()?.late(e));
  const backendOptions = JSON.stringify({ ...options.fault, ...(tf32 ? { tf32: 1 } : {}) });
  let handle: Handle;
  try {
    // Throws, with the device's reason, where it cannot be opened.
    handle = await typed(addon.create(device, threads, index, backendOptions, maxCommands, maxBytes, cached, onLate));
  } catch (e) {
    const error = toError(e) as Error & { code?: string };
    if (error.code !== 'ERR_UNSUPPORTED') throw error;
    throw new UnsupportedError(`device ${device} is not available: ${error.message}`, { cause: e });
  }
  const engine = new Engine({ addon, maxCommands, maxBytes, debug: options.debug === true }, handle);
  late = new WeakRef(engine);
  return engine;
}
