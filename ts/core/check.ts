import { AbortError, ArgumentError } from './errors.js';

/** How a given value is shown in messages: short, and strings quoted. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 57)}...` : value);
  if (Array.isArray(value)) return `[${value.slice(0, 8).map(show).join(',')}${value.length > 8 ? ',...' : ''}]`;
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
  if (typeof value === 'object' && value !== null) return `a ${value.constructor?.name ?? 'plain'} object`;
  if (typeof value === 'function') return 'a function';
  return String(value);
}

export function refuse(name: string, value: unknown, accepted: string): never {
  throw new ArgumentError(`${name} is ${show(value)}: expected ${accepted}`);
}

/** An integer in [lo, hi]. */
export function checkInt(name: string, value: unknown, lo = Number.MIN_SAFE_INTEGER, hi = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= lo && value <= hi) return value;
  const bounded = lo > Number.MIN_SAFE_INTEGER || hi < Number.MAX_SAFE_INTEGER;
  return refuse(name, value, bounded ? `an integer in [${lo}, ${hi}]` : 'an integer');
}

/** A number in [lo, hi]; never NaN. */
export function checkNumber(name: string, value: unknown, lo = Number.NEGATIVE_INFINITY, hi = Number.POSITIVE_INFINITY): number {
  if (typeof value === 'number' && value >= lo && value <= hi) return value;
  return refuse(
    name,
    value,
    lo === Number.NEGATIVE_INFINITY && hi === Number.POSITIVE_INFINITY ? 'a number' : `a number in [${lo}, ${hi}]`,
  );
}

export function checkBoolean(name: string, value: unknown): boolean {
  return typeof value === 'boolean' ? value : refuse(name, value, 'true or false');
}

export function checkFunction(name: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') refuse(name, value, 'a function');
}

export function checkString(name: string, value: unknown): string {
  return typeof value === 'string' && value.length > 0 ? value : refuse(name, value, 'a non-empty string');
}

export function checkEnum<const V extends string>(name: string, value: unknown, values: readonly V[]): V {
  if (values.includes(value as V)) return value as V;
  return refuse(name, value, `one of ${values.join(', ')}`);
}

/** An array (or typed array) of at least `min` entries. */
export function checkArray<E = unknown>(name: string, value: unknown, min = 0, max = Number.MAX_SAFE_INTEGER): readonly E[] {
  const list = ArrayBuffer.isView(value) ? Array.from(value as unknown as ArrayLike<E>) : value;
  if (Array.isArray(list) && list.length >= min && list.length <= max) return list as E[];
  const size = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : min === max ? `${min}` : `${min} to ${max}`;
  return refuse(name, value, `an array of ${size} entries`);
}

/** A shape: 0 to 6 dims, each at least 1. */
export function checkShape(name: string, value: unknown): readonly number[] {
  if (Array.isArray(value) && value.length <= 6 && value.every((d) => Number.isInteger(d) && d >= 1 && d <= 0x7fffffff)) {
    return value as number[];
  }
  return refuse(name, value, 'a list of at most 6 dims, each a positive integer');
}

/** An AbortSignal or undefined; throws AbortError when it is aborted already. */
export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal === null) return undefined;
  if (!(signal instanceof AbortSignal)) return refuse('signal', signal, 'an AbortSignal');
  throwIfAborted(signal);
  return signal;
}

export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  const { reason } = signal;
  const why = reason instanceof Error && reason.name !== 'AbortError' ? `: ${reason.message}` : '';
  throw new AbortError(`the work was aborted${why}`, { cause: reason });
}

/** Refuses options that are not known, and lists those that are. */
export function checkOptions(where: string, options: unknown, known: readonly string[]): void {
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options)) refuse(where, options, 'an object of options');
  for (const key of Object.keys(options as object)) {
    if (!known.includes(key)) throw new ArgumentError(`${where}: unknown option ${show(key)}, known are ${known.join(', ')}`);
  }
}
