// Labels as files give them (names, numbers, nothing) to class numbers.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { show } from '../core/check.js';
import { DatasetError } from '../core/errors.js';

export interface Labelled {
  readonly classes: readonly string[];
  /** One class number per sample. */
  readonly labels: Int32Array;
}

/** One label and where it stands, for messages. */
export interface RawLabel {
  readonly value: string | number | undefined;
  readonly at: string;
}

/** Name of the only class of images without labels. */
export const UNLABELLED = 'all';
const MAX_CLASSES = 1 << 20;

/**
 * Class numbers of a dataset. Without labels there is one class. Labels that are all whole numbers are class numbers; others are names,
 * numbered in the order of `classes`, or sorted where no such list is given. Throws DatasetError for a label that is missing or unknown.
 */
export function resolveLabels(raw: readonly RawLabel[], file: string, classes?: readonly string[]): Labelled {
  const missing = raw.find(({ value }) => value === undefined);
  if (missing && raw.every(({ value }) => value === undefined)) {
    if (classes && classes.length > 1)
      throw new DatasetError(`${file}: the images have no labels, but there are ${classes.length} classes to choose from`, { file });
    return { classes: classes ?? [UNLABELLED], labels: new Int32Array(raw.length) };
  }
  if (missing) throw new DatasetError(`${missing.at}: there is no label, other entries have one`, { file });
  const names = raw.map(({ value }) => String(value).trim());
  if (classes) return { classes, labels: Int32Array.from(names, (name, i) => known(name, classes, raw[i]!.at, file)) };
  const numbers = names.map(classNumber);
  if (numbers.every((n) => n >= 0)) {
    const count = numbers.reduce((most, n) => Math.max(most, n + 1), 1);
    if (count > MAX_CLASSES) throw new DatasetError(`${file}: class number ${count - 1} is above ${MAX_CLASSES - 1}`, { file });
    return { classes: Array.from({ length: count }, (_, i) => String(i)), labels: Int32Array.from(numbers) };
  }
  const sorted = [...new Set(names)].sort();
  const numberOf = new Map(sorted.map((name, i) => [name, i]));
  return { classes: sorted, labels: Int32Array.from(names, (name) => numberOf.get(name)!) };
}

/** A class number, or -1. */
const classNumber = (name: string): number => (/^\d{1,9}$/.test(name) ? Number(name) : -1);

const lists = new WeakMap<readonly string[], Map<string, number>>();

/** Number of a class by its name, else by its number; throws DatasetError where neither fits. */
export function known(name: string, classes: readonly string[], at: string, file: string): number {
  let numberOf = lists.get(classes);
  if (!numberOf) {
    numberOf = new Map(classes.map((c, i) => [c, i]));
    lists.set(classes, numberOf);
  }
  const n = numberOf.get(name) ?? classNumber(name);
  if (n >= 0 && n < classes.length) return n;
  throw new DatasetError(`${at}: class ${show(name)} is none of the ${classes.length} classes (${show([...classes])})`, { file });
}

/** The classes list of a folder: classes.txt (a name per line) or classes.json (an array of names); undefined where there is none. */
export async function readClasses(folder: string): Promise<readonly string[] | undefined> {
  for (const name of ['classes.txt', 'classes.json']) {
    const file = join(folder, name);
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const list: unknown = name.endsWith('.json') ? parse(text, file) : text.replace(/(\r?\n)+$/, '').split(/\r?\n/);
    return checkClasses(list, file);
  }
  return undefined;
}

function parse(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new DatasetError(`${file}: not valid JSON (${(error as Error).message})`, { file, cause: error });
  }
}

/** Different, non-empty names. */
export function checkClasses(list: unknown, file: string): readonly string[] {
  if (!Array.isArray(list) || list.length === 0) throw new DatasetError(`${file}: expected a list of class names`, { file });
  const seen = new Set<string>();
  for (const [i, name] of list.entries()) {
    if (typeof name !== 'string' || name.trim() === '' || seen.has(name))
      throw new DatasetError(`${file}: class ${i} is ${show(name)}: expected a name that no other class has`, { file });
    seen.add(name);
  }
  return Object.freeze(list as string[]);
}
