// Lists of images: CSV or TSV (RFC 4180) and JSON lines, paths relative to the list's folder.
import { readFile } from 'node:fs/promises';
import { dirname, isAbsolute, resolve } from 'node:path';
import { DatasetError } from '../core/errors.js';
import { FileDataset } from './dataset.js';
import { type RawLabel, readClasses, resolveLabels } from './labels.js';

const PATH_NAMES = ['path', 'file', 'filename', 'file_name', 'filepath', 'image', 'img'];
const LABEL_NAMES = ['label', 'class', 'cls', 'category', 'target'];
export const LIST_FILE = /\.(csv|tsv|jsonl|ndjson)$/i;

interface Row {
  readonly path: string;
  readonly label: string | number | undefined;
  readonly line: number;
}

/** Opens a list. Columns are `path,label` unless a header names them; JSON lines are objects with such fields. */
export async function openList(file: string, path: string, given?: readonly string[]): Promise<FileDataset> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new DatasetError(`${file}: the list cannot be read (${error.code})`, { file, cause: error });
  });
  const plain = text.startsWith('\ufeff') ? text.slice(1) : text;
  const rows = /\.(jsonl|ndjson)$/i.test(file) ? jsonRows(plain, file) : tableRows(plain, /\.tsv$/i.test(file) ? '\t' : ',', file);
  if (rows.length === 0) throw new DatasetError(`${file}: the list is empty`, { file });
  const folder = dirname(file);
  const files = rows.map(({ path: name, line }) => {
    if (/^[a-z][a-z0-9+.-]+:\/\//i.test(name))
      throw new DatasetError(`${file}, line ${line}: ${name} is an address; lists name files, relative to the list's folder`, { file });
    return isAbsolute(name) ? name : resolve(folder, name);
  });
  const raw: RawLabel[] = rows.map(({ label, line }) => ({ value: label, at: `${file}, line ${line}` }));
  const { classes, labels } = resolveLabels(raw, file, given ?? (await readClasses(folder)));
  return new FileDataset('list', path, files, classes, labels, new Map());
}

function jsonRows(text: string, file: string): Row[] {
  const rows: Row[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const fail = (why: string, cause?: unknown) => new DatasetError(`${file}, line ${i + 1}: ${why}`, { file, cause });
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (error) {
      throw fail(`not valid JSON (${(error as Error).message})`, error);
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fail('expected an object');
    const fields = value as Record<string, unknown>;
    const path = field(fields, PATH_NAMES);
    if (typeof path !== 'string' || path === '') throw fail(`no file name; expected one of the fields ${PATH_NAMES.join(', ')}`);
    rows.push({ path, label: labelOf(fields, fail), line: i + 1 });
  }
  return rows;
}

/** The label among the fields of an object; null counts as none. */
export function labelOf(fields: Readonly<Record<string, unknown>>, fail: (why: string) => Error): string | number | undefined {
  const label = field(fields, LABEL_NAMES);
  if (label === undefined || label === null) return undefined;
  if (typeof label === 'string' || (typeof label === 'number' && Number.isInteger(label) && label >= 0)) return label;
  throw fail(`label ${JSON.stringify(label)}: expected a name or a whole number from 0`);
}

const field = (fields: Readonly<Record<string, unknown>>, names: readonly string[]): unknown => {
  const name = names.find((n) => Object.hasOwn(fields, n));
  return name === undefined ? undefined : fields[name];
};

function tableRows(text: string, separator: string, file: string): Row[] {
  const table = parseTable(text, separator, file);
  if (table.length === 0) return [];
  const head = table[0]!.cells.map((c) => c.trim().toLowerCase());
  const hasHead = head.some((c) => PATH_NAMES.includes(c));
  const pathAt = hasHead ? head.findIndex((c) => PATH_NAMES.includes(c)) : 0;
  const labelAt = hasHead ? head.findIndex((c) => LABEL_NAMES.includes(c)) : 1;
  return table.slice(hasHead ? 1 : 0).map(({ cells, line }) => {
    const path = cells[pathAt] ?? '';
    if (path === '') throw new DatasetError(`${file}, line ${line}: no file name in column ${pathAt + 1}`, { file });
    const label = cells[labelAt]?.trim();
    return { path, label: label === '' ? undefined : label, line };
  });
}

/** Cells of a separated table with RFC 4180 quotes; blank lines are left out. */
export function parseTable(text: string, separator: string, file: string): { cells: string[]; line: number }[] {
  const rows: { cells: string[]; line: number }[] = [];
  const cell = new RegExp(`"((?:[^"]|"")*)"(?=${separator}|\\r?\\n|$)|([^"${separator}\\r\\n][^${separator}\\r\\n]*|)`, 'y');
  let line = 1;
  for (let at = 0; at < text.length; ) {
    const cells: string[] = [];
    const first = line;
    for (;;) {
      cell.lastIndex = at;
      const match = cell.exec(text);
      if (!match) throw new DatasetError(`${file}, line ${line}: a quote that is not closed, or text behind it`, { file });
      at = cell.lastIndex;
      line += (match[1]?.match(/\n/g) ?? []).length;
      cells.push(match[1] === undefined ? match[2]! : match[1].replaceAll('""', '"'));
      if (text[at] !== separator) break;
      at++;
    }
    if (text[at] === '\r') at++;
    if (at < text.length && text[at] !== '\n') throw new DatasetError(`${file}, line ${line}: cannot be read as a table`, { file });
    at++;
    line++;
    if (cells.length > 1 || cells[0]!.trim() !== '') rows.push({ cells, line: first });
  }
  return rows;
}
