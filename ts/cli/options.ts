// Parsers of option values; a bad value is an ArgumentError that names the option, what was given and what is accepted.
import { readFile } from 'node:fs/promises';
import { openCheckpoint } from '../checkpoint/index.js';
import { ArgumentError } from '../core/errors.js';
import { CLASSES_KEY } from '../models/config.js';

type Parser<T> = (text: string) => T;

function bad(option: string, given: string, accepted: string): ArgumentError {
  return new ArgumentError(`${option}: got '${given}', accepted: ${accepted}`);
}

/** An integer in [lo, hi]. */
export function integer(option: string, lo: number, hi: number = Number.MAX_SAFE_INTEGER): Parser<number> {
  return (text) => {
    const v = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(v) || v < lo || v > hi) {
      throw bad(option, text, hi === Number.MAX_SAFE_INTEGER ? `an integer from ${lo}` : `an integer from ${lo} to ${hi}`);
    }
    return v;
  };
}

/** A finite number in [lo, hi]. */
export function number(option: string, lo: number, hi: number = Number.POSITIVE_INFINITY): Parser<number> {
  return (text) => {
    const v = text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isFinite(v) || v < lo || v > hi)
      throw bad(option, text, Number.isFinite(hi) ? `a number from ${lo} to ${hi}` : `a number from ${lo}`);
    return v;
  };
}

/** One of the given words. */
export function oneOf<T extends string>(option: string, words: readonly T[]): Parser<T> {
  return (text) => {
    if (!(words as readonly string[]).includes(text)) throw bad(option, text, words.join(', '));
    return text as T;
  };
}

/** '1,2,3', '207x4' (four times 207) and mixtures of both. */
export function labels(option: string): Parser<number[]> {
  return (text) => {
    const out: number[] = [];
    for (const part of text.split(',')) {
      const m = /^\s*(\d+)(?:x(\d+))?\s*$/.exec(part);
      const times = Number(m?.[2] ?? 1);
      if (!m || times < 1 || out.length + times > 65536) throw bad(option, text, "class numbers as '1,2,3' or '207x4'");
      for (let i = 0; i < times; i++) out.push(Number(m[1]));
    }
    return out;
  };
}

/** '1,2,3,4' or '1_2_3_4': the side lengths of the token maps. */
export function patchNums(option: string): Parser<number[]> {
  return (text) => {
    const sides = text.split(/[,_]/).map((s) => (/^\d+$/.test(s.trim()) ? Number(s) : 0));
    if (sides.some((s, i) => s < 1 || s > 256 || (i > 0 && s <= sides[i - 1]!)))
      throw bad(option, text, "growing side lengths as '1_2_3_4'");
    return sides;
  };
}

/** Names of classes that exported weights carry. */
export async function classNamesOf(file: string | undefined): Promise<(label: number) => string | undefined> {
  if (file === undefined) return () => undefined;
  const checkpoint = await openCheckpoint(file);
  const text = checkpoint.metadata[CLASSES_KEY];
  checkpoint.close();
  const names = text === undefined ? [] : (JSON.parse(text) as string[]);
  return (label) => names[label];
}

/** Names of classes: a JSON array, a JSON object from number to name (or to [id, name]), or one name per line. */
export async function readClassNames(file: string): Promise<(label: number) => string | undefined> {
  const text = await readFile(file, 'utf8').catch((e: NodeJS.ErrnoException) => {
    throw new ArgumentError(`--class-names: cannot read '${file}' (${e.code}), accepted: a text or JSON file`);
  });
  let names: unknown = text.split(/\r?\n/);
  if (/^\s*[[{]/.test(text)) {
    try {
      names = JSON.parse(text);
    } catch (e) {
      throw new ArgumentError(`--class-names: '${file}' is not valid JSON (${(e as Error).message})`);
    }
  }
  return (label) => {
    const entry = (names as Record<string, unknown>)[String(label)];
    const name = Array.isArray(entry) ? entry.at(-1) : entry;
    return typeof name === 'string' && name.trim() !== '' ? name.trim() : undefined;
  };
}
