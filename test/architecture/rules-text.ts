import { codeOf, type Files, type Finding, functionsOf, matches } from './source.js';

const isGenerated = (name: string) => /^(ts\/gen|native\/abi\/gen)\//.test(name);
const isCode = (name: string) => /\.(ts|mjs|js|h|cpp|cu|cuh|py)$/.test(name) && !isGenerated(name);
// The rules and their bad examples spell out what they forbid.
const isRule = (name: string) => name.startsWith('test/architecture/');

const FILE_LINES = { warn: 400, fail: 600 };
const FUNCTION_LINES = 60;

const FOREIGN: readonly [RegExp, string][] = [
  [/(?<![\w.])\/(?:work|root|home|Users)\/[\w.-]+/g, 'a path of one machine'],
  [/(?<![\w.])\/tmp\/[\w.-]+/g, 'a path of one machine (use os.tmpdir() or a relative path)'],
  [/(?<![\w.])(?:10\.\d+|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}(?![\w.])/g, 'a private address'],
  [/\bregistry\.[\w-]+\.\w+|\b(?:artifactory|verdaccio|jfrog|nexus)[\w-]*\.[\w.-]+|"resolved":/gi, 'a package registry'],
  [
    /\bissue #?\d+\b|\b(?:this|previous|next|last|another) session\b|\bsub-?agent\b|\bworkplace\b|\bfor now\b/gi,
    'a word about how the work was done',
  ],
];

/** Nothing in the project names a machine, a registry or the circumstances of its making. */
export function foreignWords(files: Files): Finding[] {
  return [...files]
    .filter(([name]) => !isRule(name) && !name.startsWith('test/golden/set/'))
    .flatMap(([file, text]) => FOREIGN.flatMap(([pattern, why]) => matches('foreign-words', file, text, pattern, why)))
    .filter(({ file, text }) => !(file.startsWith('native/test/') && /: \/tmp\/[\w-]*XXXXXX$/.test(text)));
}

export function fileLengths(files: Files): { failures: Finding[]; warnings: Finding[] } {
  const found = [...files]
    .filter(([name]) => isCode(name))
    .map(([file, text]) => ({ rule: 'file-length', file, line: 1, count: text.trimEnd().split('\n').length }))
    .filter(({ count }) => count > FILE_LINES.warn)
    .map(({ count, ...rest }) => ({ ...rest, count, text: `${count} lines` }));
  return {
    failures: found.filter(({ count }) => count > FILE_LINES.fail),
    warnings: found.filter(({ count }) => count <= FILE_LINES.fail),
  };
}

export function longFunctions(files: Files): Finding[] {
  return [...files]
    .filter(([name]) => isCode(name) && !/\.py$/.test(name))
    .flatMap(([file, text]) =>
      functionsOf(text)
        .filter(({ lines }) => lines > FUNCTION_LINES)
        .map(({ name, line, lines }) => ({ rule: 'function-length', file, line, text: `${lines} lines: ${name}` })),
    );
}

/** Tests hold assertions, and none was left running alone. */
export function honestTests(files: Files): Finding[] {
  return [...files]
    .filter(([name]) => /^test\/.*\.test\.ts$/.test(name))
    .flatMap(([file, text]) => {
      const code = codeOf(text, { strings: true });
      const without = /\bassert\b/.test(code) ? [] : [{ rule: 'honest-tests', file, line: 1, text: 'no assertion in it' }];
      return [
        ...without,
        ...(isRule(file) ? [] : matches('honest-tests', file, code, /(?<![\w'])\w+\.only\(/g, 'other tests are left out')),
      ];
    });
}

/** Every package has a row with its reason. */
export function dependencyReasons(files: Files): Finding[] {
  const doc = 'docs/inside/dependencies.md';
  const manifest = JSON.parse(files.get('package.json') ?? '{}') as Record<string, Record<string, string> | undefined>;
  const names = ['dependencies', 'devDependencies', 'optionalDependencies', 'peerDependencies'].flatMap((key) =>
    Object.keys(manifest[key] ?? {}),
  );
  const rows = (files.get(doc) ?? '').split('\n').filter((line) => line.startsWith('|'));
  const reasonOf = (name: string) =>
    rows
      .find((row) => row.split('|')[1]?.includes(`\`${name}\``))
      ?.split('|')[2]
      ?.trim() ?? '';
  return names
    .filter((name) => reasonOf(name).length < 20)
    .map((file) => ({ rule: 'dependency-reasons', file: 'package.json', line: 1, text: `${file} has no reason in ${doc}` }));
}
