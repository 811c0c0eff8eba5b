// What the rules need to know about a source text: code without comments, imports, the extent of functions.

export interface Finding {
  rule: string;
  file: string;
  line: number;
  text: string;
}

export type Files = ReadonlyMap<string, string>;

const REGEX_MAY_FOLLOW = /(?:^|[=(,:[!&|?{};]|\breturn|\bof|\bin)\s*$/;

/** Blanks comments, and string contents where `strings` is set, keeping every line break, so that line numbers stay. */
export function codeOf(text: string, { strings = false } = {}): string {
  let out = '';
  for (let i = 0; i < text.length; ) {
    const end = tokenEnd(text, i, out);
    const token = text.slice(i, end);
    const kind = token.startsWith('//') || token.startsWith('/*') ? 'comment' : token.length > 1 ? 'string' : 'code';
    if (kind === 'comment') out += blank(token);
    else if (kind === 'string' && strings) out += token[0] + blank(token.slice(1, -1)) + token.at(-1);
    else out += token;
    i = end;
  }
  return out;
}

function tokenEnd(text: string, at: number, before: string): number {
  const char = text[at]!;
  const two = text.slice(at, at + 2);
  if (two === '//') return until(text, at, '\n', 0);
  if (two === '/*') return until(text, at + 2, '*/', 2);
  if (char === '"' || char === "'" || char === '`') {
    // A digit separator (1'000) and a quote in prose open no string.
    if (char === "'" && /[0-9a-fA-F]$/.test(before) && /[0-9a-fA-F]/.test(text[at + 1] ?? '')) return at + 1;
    return stringEnd(text, at, char);
  }
  if (char === '/' && REGEX_MAY_FOLLOW.test(before.slice(-20))) return regexEnd(text, at);
  return at + 1;
}

function stringEnd(text: string, at: number, quote: string): number {
  for (let i = at + 1; i < text.length; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === quote) return i + 1;
    else if (text[i] === '\n' && quote !== '`') return i;
  }
  return text.length;
}

function regexEnd(text: string, at: number): number {
  let inClass = false;
  for (let i = at + 1; i < text.length && text[i] !== '\n'; i++) {
    if (text[i] === '\\') i++;
    else if (text[i] === '[') inClass = true;
    else if (text[i] === ']') inClass = false;
    else if (text[i] === '/' && !inClass) return i + 1;
  }
  return at + 1;
}

function until(text: string, from: number, mark: string, extra: number): number {
  const found = text.indexOf(mark, from);
  return found < 0 ? text.length : found + extra;
}

function blank(text: string): string {
  return text.replace(/[^\n]/g, ' ');
}

export function lineAt(text: string, index: number): number {
  return text.slice(0, index).split('\n').length;
}

/** Every match of `pattern` in `text`, as findings of `rule`. */
export function matches(rule: string, file: string, text: string, pattern: RegExp, why: string): Finding[] {
  return [...text.matchAll(pattern)].map((match) => ({
    rule,
    file,
    line: lineAt(text, match.index),
    text: `${why}: ${match[0].trim().replace(/\s+/g, ' ')}`,
  }));
}

export interface Import {
  specifier: string;
  line: number;
  /** `import type` or `export type`: nothing is loaded at run time. */
  typeOnly: boolean;
}

/** Module specifiers that a TypeScript text imports, re-exports or loads. */
export function importsOf(text: string): Import[] {
  const code = codeOf(text);
  const pattern = /(?:\bfrom\s*|\bimport\s*\(\s*|\bimport\s+|\brequire\s*\(\s*)(['"])([^'"\n]+)\1/g;
  return [...code.matchAll(pattern)].map((match) => {
    const before = code.slice(0, match.index);
    const statement = before.slice(Math.max(before.lastIndexOf(';'), before.lastIndexOf("'\n"), -1) + 1);
    const typeOnly = match[0].startsWith('from') && /\b(?:import|export)\s+type\s+[^;'"]*$/.test(statement);
    return { specifier: match[2]!, line: lineAt(code, match.index), typeOnly };
  });
}

export function includesOf(text: string): { path: string; line: number }[] {
  return [...codeOf(text).matchAll(/^[ \t]*#[ \t]*include[ \t]+["<]([^">\n]+)[">]/gm)].map((match) => ({
    path: match[1]!,
    line: lineAt(text, match.index),
  }));
}

export interface Extent {
  name: string;
  line: number;
  lines: number;
}

const NO_FUNCTION =
  /^\s*(?:\}\s*)?(?:export\s+)?(?:abstract\s+)?(?:if|else|for|while|do|switch|try|catch|namespace|class|struct|enum|union|interface|type|extern|return)\b/;

/** Functions of a formatted source, by indentation: from a line that ends in `{` after parentheses to the brace that closes it. */
export function functionsOf(text: string): Extent[] {
  const lines = codeOf(text, { strings: true }).split('\n');
  const found: Extent[] = [];
  lines.forEach((line, opening) => {
    if (!/\{\s*$/.test(line) || !/[)>]/.test(line) || /[^=]=\s*\{\s*$/.test(line)) return;
    const start = headerStart(lines, opening);
    const header = lines[start]!;
    // A line of a constructor's initialiser list is no header.
    if (NO_FUNCTION.test(header) || /[,:]\s*$/.test(lines[start - 1] ?? '')) return;
    const indent = /^\s*/.exec(header)![0];
    const end = lines.findIndex((other, i) => i > opening && other.startsWith(`${indent}}`));
    if (end > start) found.push({ name: header.trim().slice(0, 80), line: start + 1, lines: end - start + 1 });
  });
  return found;
}

// A header that spans lines begins where its parentheses balance.
function headerStart(lines: readonly string[], opening: number): number {
  let open = 0;
  for (let i = opening; i >= 0; i--) {
    open += (lines[i]!.match(/\)/g)?.length ?? 0) - (lines[i]!.match(/\(/g)?.length ?? 0);
    if (open <= 0) return i;
  }
  return opening;
}
