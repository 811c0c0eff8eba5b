// What the parts of nextscale bench share: their options and the choice of cases.
import { ArgumentError } from '../core/errors.js';
import type { CommonOptions } from './context.js';
import type { ModelOptions } from './models.js';

export interface BenchOptions extends CommonOptions, ModelOptions {
  filter?: string;
  rounds: number;
  minMs: number;
}

/** The cases whose name matches the regular expression; none is an argument error. */
export function choose<C extends { name: string }>(filter: string | undefined, cases: readonly C[]): C[] {
  let pattern: RegExp;
  try {
    pattern = new RegExp(filter ?? '', 'i');
  } catch (e) {
    throw new ArgumentError(`--filter: got '${filter}', accepted: a regular expression (${(e as Error).message})`);
  }
  const chosen = cases.filter((c) => pattern.test(c.name));
  if (chosen.length > 0) return chosen;
  const some = cases.slice(0, 6).map((c) => c.name);
  throw new ArgumentError(
    `--filter: got '${filter}', accepted: a regular expression that matches one of ${cases.length} cases (${some.join('; ')}; ...)`,
  );
}
