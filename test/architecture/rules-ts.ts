import { posix } from 'node:path';
import { cyclesOf, type Edge } from './graph.js';
import { codeOf, type Files, type Finding, importsOf, matches } from './source.js';

/** Rooms of ts/, lowest floor first; a file may import its own room and lower floors. */
export const TS_FLOORS: readonly (readonly string[])[] = [
  ['core'],
  ['gen'],
  ['engine'],
  ['autograd', 'checkpoint', 'data'],
  ['nn'],
  ['optim'],
  ['models'],
  ['train', 'sample', 'analysis'],
  ['serve'],
  ['index.ts'],
  ['cli'],
];

const floorOf = (room: string) => TS_FLOORS.findIndex((rooms) => rooms.includes(room));
const roomOf = (file: string) => file.split('/')[1]!;

export function tsFiles(files: Files): [string, string][] {
  return [...files].filter(([name]) => /^ts\/.*\.ts$/.test(name));
}

function resolveImport(files: Files, from: string, specifier: string): string | null {
  if (!specifier.startsWith('.')) return null;
  const path = posix.join(posix.dirname(from), specifier).replace(/\.js$/, '.ts');
  return files.has(path) || path.startsWith('ts/') ? path : null;
}

function edgesOf(files: Files, { types }: { types: boolean }): Edge[] {
  return tsFiles(files).flatMap(([from, text]) =>
    importsOf(text).flatMap(({ specifier, line, typeOnly }) => {
      const to = resolveImport(files, from, specifier);
      return to === null || (typeOnly && !types) ? [] : [{ from, to, line }];
    }),
  );
}

export function tsFloors(files: Files): Finding[] {
  const rule = 'ts-floors';
  const unknown = tsFiles(files)
    .filter(([name]) => floorOf(roomOf(name)) < 0)
    .map(([file]) => ({ rule, file, line: 1, text: `ts/${roomOf(file)} is no room of the plan` }));
  const upward = edgesOf(files, { types: true }).flatMap(({ from, to, line }) => {
    const [a, b] = [roomOf(from), roomOf(to)];
    return a === b || floorOf(b) < floorOf(a) ? [] : [{ rule, file: from, line, text: `ts/${a} must not import ts/${b} (${to})` }];
  });
  return [...unknown, ...upward];
}

/** Two files of a room may know each other's types; what is loaded at run time has an order. */
export function tsCycles(files: Files): Finding[] {
  return cyclesOf('ts-cycles', edgesOf(files, { types: false }));
}

export function tsImportForm(files: Files): Finding[] {
  return tsFiles(files).flatMap(([file, text]) =>
    importsOf(text)
      .filter(({ specifier }) => specifier.startsWith('.') && !/\.(js|json)$/.test(specifier))
      .map(({ specifier, line }) => ({ rule: 'ts-import-form', file, line, text: `relative imports end in .js: ${specifier}` })),
  );
}

export function tsConsole(files: Files): Finding[] {
  const pattern = /(?<![.\w])(?:console\s*\.\s*\w+|process\s*\.\s*(?:exit|abort|stdout|stderr)\b|process\s*\.\s*exitCode)/g;
  return tsFiles(files)
    .filter(([name]) => !name.startsWith('ts/cli/'))
    .flatMap(([file, text]) => matches('ts-console', file, codeOf(text, { strings: true }), pattern, 'only ts/cli prints or exits'));
}

/** ts/index.ts holds the public names and nothing else. */
export function tsIndex(files: Files): Finding[] {
  const file = 'ts/index.ts';
  const rest = codeOf(files.get(file) ?? '').replace(
    /\bexport\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s*from\s*['"][^'"]+['"]\s*;?/g,
    (text) => text.replace(/[^\n]/g, ' '),
  );
  return matches('ts-index', file, rest, /\S[^\n]*/g, 'only `export ... from` belongs here');
}
