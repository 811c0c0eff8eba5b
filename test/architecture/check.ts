import * as native from './rules-native.js';
import * as text from './rules-text.js';
import * as ts from './rules-ts.js';
import type { Files, Finding } from './source.js';

const { fileLengths, longFunctions, ...textRules } = text;
const { TS_FLOORS: _floors, tsFiles: _files, ...tsRules } = ts;

/** Every rule that must find nothing, by name. */
export const RULES: Readonly<Record<string, (files: Files) => Finding[]>> = {
  ...tsRules,
  ...native,
  ...textRules,
  fileLength: (files) => fileLengths(files).failures,
};

/** Findings that are shown and fail nothing. */
export function warningsOf(files: Files): Finding[] {
  return [...fileLengths(files).warnings, ...longFunctions(files)];
}

export function show(findings: readonly Finding[]): string {
  return findings.map(({ rule, file, line, text }) => `${file}:${line}: [${rule}] ${text}`).join('\n');
}
