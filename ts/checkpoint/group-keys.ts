/** Collapses names that differ in their first layer number, for reports: 'blocks.{0..15}.attn.q_bias (16)'. Order of first appearance. */
export function groupKeys(lines: readonly string[]): string[] {
  const groups = new Map<string, { first: string; numbers: number[] }>();
  for (const line of lines) {
    const match = /\.(\d+)\./.exec(line);
    const pattern = match ? `${line.slice(0, match.index)}.{}.${line.slice(match.index + match[0].length)}` : line;
    const group = groups.get(pattern) ?? { first: line, numbers: [] };
    groups.set(pattern, group);
    if (match) group.numbers.push(Number(match[1]));
  }
  return [...groups].map(([pattern, { first, numbers }]) =>
    numbers.length <= 1 ? first : `${pattern.replace('{}', range(numbers))} (${numbers.length})`,
  );
}

function range(numbers: readonly number[]): string {
  const low = Math.min(...numbers);
  const high = Math.max(...numbers);
  if (high - low + 1 === numbers.length) return `{${low}..${high}}`;
  return `{${numbers.slice(0, 6).join(',')}${numbers.length > 6 ? ',...' : ''}}`;
}
