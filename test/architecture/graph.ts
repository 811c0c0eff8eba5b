import type { Finding } from './source.js';

export interface Edge {
  from: string;
  to: string;
  line: number;
}

/** One finding per cycle of the graph, named by the files along it. */
export function cyclesOf(rule: string, edges: readonly Edge[]): Finding[] {
  const out = new Map<string, Edge[]>();
  for (const edge of edges) out.set(edge.from, [...(out.get(edge.from) ?? []), edge]);
  const state = new Map<string, 'open' | 'done'>();
  const path: string[] = [];
  const found: Finding[] = [];
  const visit = (file: string) => {
    state.set(file, 'open');
    path.push(file);
    for (const edge of out.get(file) ?? []) {
      const seen = state.get(edge.to);
      if (seen === undefined) visit(edge.to);
      if (seen !== 'open') continue;
      const cycle = [...path.slice(path.indexOf(edge.to)), edge.to];
      found.push({ rule, file, line: edge.line, text: `cycle: ${cycle.join(' -> ')}` });
    }
    path.pop();
    state.set(file, 'done');
  };
  for (const file of [...out.keys()].sort()) if (!state.has(file)) visit(file);
  return found;
}
