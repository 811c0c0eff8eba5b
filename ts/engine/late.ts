import {
  AbortError,
  EngineClosedError,
  EngineError,
  LATE_CODES,
  NextscaleError,
  OutOfMemoryError,
  UnsupportedError,
} from '../core/errors.js';
import type { NativeError } from './addon.js';

const LOST = 8;
const CODES: Readonly<Record<number, string>> = {
  3: LATE_CODES.unsupported,
  4: LATE_CODES.index,
  7: LATE_CODES.io,
  [LOST]: LATE_CODES.lost,
};
const OUT_OF_MEMORY = 2;
const CANCELLED = 6;

function isNative(e: unknown): e is NativeError {
  return typeof e === 'object' && e !== null && !(e instanceof Error) && 'command' in e && 'op' in e;
}

/** The typed error for what the worker reports or the addon throws. */
export function toError(e: unknown): Error {
  if (isNative(e)) return fromWorker(e);
  if (e instanceof NextscaleError || !(e instanceof Error)) return e instanceof Error ? e : new Error(String(e));
  switch ((e as Error & { code?: string }).code) {
    case 'CLOSED':
      return new EngineClosedError();
    case 'UNSUPPORTED':
      return new UnsupportedError(e.message, { cause: e });
    case 'MEMORY':
      return new OutOfMemoryError('no host memory for the upload', { op: 'upload', command: 0, shapes: '' });
    case 'MALFORMED':
      return new EngineError(`the addon refused a batch of commands: ${e.message}`, { op: '', command: 0, shapes: '' });
    default:
      // What the standard library says when a small allocation of the addon fails.
      if (e.message === 'std::bad_alloc') return new OutOfMemoryError('no host memory for the call', { op: '', command: 0, shapes: '' });
      return e;
  }
}

function fromWorker(e: NativeError): Error {
  if (e.code === CANCELLED) return new AbortError(`[${e.op}] ${e.message}`);
  // A kernel's message may begin with its op.
  const prefix = `[${e.op}] `;
  const message = `${e.message.startsWith(prefix) ? '' : prefix}${e.message}${e.shapes ? ` (${e.shapes})` : ''}, command ${e.command}`;
  if (e.code === OUT_OF_MEMORY) return new OutOfMemoryError(message, e);
  return new EngineError(message, { op: e.op, command: e.command, shapes: e.shapes }, CODES[e.code]);
}

/** Awaits a promise of the addon, with its error made typed. */
export async function typed<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (e) {
    throw toError(e);
  }
}
