// Missing, extra and mis-shaped keys of a checkpoint as one readable report.
import type { Checkpoint } from './checkpoint.js';
import { checkpointError } from './fail.js';

export interface MatchOptions {
  /** What the file should be, for the message: 'VAR-d16'. */
  what?: string;
  /** Extra keys that do not matter: exact names or patterns. */
  ignore?: readonly (string | RegExp)[];
}

const MAX_LINES = 12;

/** Throws one CheckpointError listing every key of `expected` that is missing or has another shape, and every further key of the file. */
export function matchKeys(expected: ReadonlyMap<string, readonly number[]>, checkpoint: Checkpoint, options: MatchOptions = {}): void {
  const { what = 'the model', ignore = [] } = options;
  const ignored = (key: string): boolean => ignore.some((rule) => (typeof rule === 'string' ? rule === key : rule.test(key)));
  const missing: string[] = [];
  const shapes: string[] = [];
  for (const [key, shape] of expected) {
    if (!checkpoint.has(key)) missing.push(key);
    else if (String(checkpoint.info(key).shape) !== String(shape))
      shapes.push(`${key}: the file has [${checkpoint.info(key).shape}], expected [${shape}]`);
  }
  const extra = checkpoint.keys().filter((key) => !expected.has(key) && !ignored(key));
  if (missing.length + shapes.length + extra.length === 0) return;
  const where = checkpoint.root === '' ? '' : ` (below ${checkpoint.root})`;
  const others = checkpoint.roots.filter((root) => root !== checkpoint.root);
  const lines = [
    `does not fit ${what}${where}: ${missing.length} keys missing, ${extra.length} extra, ${shapes.length} of another shape`,
    ...section('missing', groupKeys(missing)),
    ...section('extra', groupKeys(extra)),
    ...section('other shape', groupKeys(shapes)),
    ...(others.length > 0 ? [`  the file also holds ${others.join(', ')}`] : []),
  ];
  throw checkpointError({ file: checkpoint.path, key: missing[0] ?? shapes[0]?.split(':')[0] ?? extra[0] }, lines.join('\n'));
}

function section(title: string, lines: string[]): string[] {
  if (lines.length === 0) return [];
  const shown = lines.slice(0, MAX_LINES).map((line) => `    ${line}`);
  const rest = lines.length - shown.length;
  return [`  ${title}:`, ...shown, ...(rest > 0 ? [`    ... and ${rest} more groups`] : [])];
}

/** Collapses lines that differ in one layer number: 'blocks.{0..15}.attn.q_bias (16)'. */
export function groupKeys(lines: readonly string[]): string[] {
  const groups = new Map<string, { first: string; numbers: number[] }>();
  for (const line of lines) {
    const match = /\.(\d+)\./.exec(line);
    const pattern = match ? `${line.slice(0, match.index)}.{}.${line.slice(match.index + match[0].length)}` : line;
    const group = groups.get(pattern) ?? { first: line, numbers: [] };
    groups.set(pattern, group);
    if (match) group.numbers.push(Number(match[1]));
  }
  return [...groups].map(([pattern, { first, numbers }]) => {
    if (numbers.length <= 1) return first;
    const low = Math.min(...numbers);
    const high = Math.max(...numbers);
    const whole = high - low + 1 === numbers.length;
    return `${pattern.replace('{}', whole ? `{${low}..${high}}` : `{${numbers.slice(0, 6).join(',')}${numbers.length > 6 ? ',...' : ''}}`)} (${numbers.length})`;
  });
}
