// One table per family says what an option is: its type for zod, its default, its words for people. Flags and JSON files are checked by it.
import { z } from 'zod';
import { show } from '../../core/check.js';
import { ArgumentError } from '../../core/errors.js';

export type FieldKind = 'number' | 'boolean' | 'text';

export interface Field<T> {
  readonly kind: FieldKind;
  readonly schema: z.ZodType<T>;
  readonly default: T;
  /** One line for --help. */
  readonly doc: string;
  /** What is accepted, for messages. */
  readonly accepted: string;
  /** May differ when a run is resumed. */
  readonly change?: boolean;
  /** Other names of the flag. */
  readonly aliases?: readonly string[];
}

export type Fields = Readonly<Record<string, Field<unknown>>>;
export type Values<F> = { -readonly [K in keyof F]: F[K] extends Field<infer T> ? T : never };

interface More {
  change?: boolean;
  aliases?: readonly string[];
}

const range = (what: string, lo: number, hi: number): string => {
  if (lo === Number.NEGATIVE_INFINITY && hi === Number.POSITIVE_INFINITY) return what;
  return hi === Number.POSITIVE_INFINITY ? `${what} from ${lo}` : `${what} from ${lo} to ${hi}`;
};

export function int(initial: number, doc: string, lo: number, hi = Number.POSITIVE_INFINITY, more: More = {}): Field<number> {
  const schema = z.number().int().min(lo).max(Math.min(hi, Number.MAX_SAFE_INTEGER));
  return { kind: 'number', schema, default: initial, doc, accepted: range('an integer', lo, hi), ...more };
}

export function num(
  initial: number,
  doc: string,
  lo = Number.NEGATIVE_INFINITY,
  hi = Number.POSITIVE_INFINITY,
  more: More = {},
): Field<number> {
  const schema = z.number().finite().min(lo).max(hi);
  return { kind: 'number', schema, default: initial, doc, accepted: range('a number', lo, hi), ...more };
}

export function bool(initial: boolean, doc: string, more: More = {}): Field<boolean> {
  return { kind: 'boolean', schema: z.boolean(), default: initial, doc, accepted: 'true or false', ...more };
}

export function text(initial: string, doc: string, accepted: string, more: More = {}): Field<string> {
  return { kind: 'text', schema: z.string(), default: initial, doc, accepted, ...more };
}

export function matching(initial: string, doc: string, accepted: string, pattern: RegExp, more: More = {}): Field<string> {
  return { kind: 'text', schema: z.string().regex(pattern), default: initial, doc, accepted, ...more };
}

export function choice<const W extends string>(initial: W, doc: string, words: readonly [W, ...W[]], more: More = {}): Field<W> {
  return { kind: 'text', schema: z.enum(words) as unknown as z.ZodType<W>, default: initial, doc, accepted: words.join(', '), ...more };
}

/** One of a few numbers. */
export function oneOf<const N extends number>(initial: N, doc: string, values: readonly N[], more: More = {}): Field<N> {
  const schema = z.number().refine((v) => (values as readonly number[]).includes(v)) as unknown as z.ZodType<N>;
  return { kind: 'number', schema, default: initial, doc, accepted: values.join(', '), ...more };
}

/** The value of a flag from its text. Throws ArgumentError that names the option. */
export function parseFlag(name: string, field: Field<unknown>, given: string | true): unknown {
  const value = fromText(field.kind, given);
  if (value === undefined || !field.schema.safeParse(value).success)
    throw new ArgumentError(`--${name}: got '${String(given)}', accepted: ${field.accepted}`);
  return value;
}

function fromText(kind: FieldKind, given: string | true): unknown {
  if (kind === 'boolean') {
    if (given === true || /^(1|true|yes)$/i.test(given)) return true;
    return /^(0|false|no)$/i.test(given) ? false : undefined;
  }
  if (given === true) return undefined;
  if (kind === 'text') return given;
  return given.trim() === '' || Number.isNaN(Number(given)) ? undefined : Number(given);
}

/** The canonical name of an option: underscores for dashes, aliases resolved; undefined where it is none. */
export function fieldName(fields: Fields, given: string): string | undefined {
  const name = given.replaceAll('-', '_');
  if (Object.hasOwn(fields, name)) return name;
  return Object.keys(fields).find((key) => fields[key]!.aliases?.includes(name));
}

/**
 * Checks values of an object, as a JSON file or a caller gives them, by zod. Throws ArgumentError that names `where`, the option, its value
 * and what is accepted; an unknown option comes with the nearest known one.
 */
export function checkValues<F extends Fields>(where: string, fields: F, given: unknown): Partial<Values<F>> {
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw new ArgumentError(`${where}: an object of options is expected, given ${show(given)}`);
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    const name = fieldName(fields, key);
    if (name === undefined) throw new ArgumentError(`${where}: unknown option ${show(key)}${suggestion(fields, key)}`);
    if (Object.hasOwn(out, name)) throw new ArgumentError(`${where}: ${show(key)} and another spelling of it are given`);
    if (value !== undefined) out[name] = value;
  }
  const schema = z.object(Object.fromEntries(Object.keys(out).map((name) => [name, fields[name]!.schema]))).strict();
  const checked = schema.safeParse(out);
  if (!checked.success) {
    const name = String(checked.error.issues[0]!.path[0]);
    throw new ArgumentError(`${where}: ${name} is ${show(out[name])}, accepted: ${fields[name]!.accepted}`);
  }
  return out as Partial<Values<F>>;
}

export function defaultsOf<F extends Fields>(fields: F): Values<F> {
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.default])) as Values<F>;
}

/** Names of the options that may differ when a run is resumed. */
export function changeable(fields: Fields): Set<string> {
  return new Set(Object.keys(fields).filter((name) => fields[name]!.change));
}

/** '; did you mean "depth"?', or nothing where no name is near. */
export function suggestion(fields: Fields, given: string): string {
  const name = given.replaceAll('-', '_');
  const near = Object.keys(fields)
    .flatMap((key) => [key, ...(fields[key]!.aliases ?? [])])
    .map((key) => ({ key, far: distance(name, key) }))
    .sort((a, b) => a.far - b.far)[0];
  return near && near.far <= Math.max(1, Math.floor(name.length / 2.5)) ? `; did you mean ${show(near.key)}?` : '';
}

/** Levenshtein's edit distance. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    row = next;
  }
  return row[b.length]!;
}
