import { groupKeys } from '../checkpoint/index.js';
import { CheckpointError } from '../core/errors.js';
import type { ParamSpec } from './module.js';
import type { WeightSource } from './source.js';

const SHOWN = 12;

function list(title: string, lines: readonly string[]): string {
  const groups = groupKeys(lines);
  const rest = groups.length > SHOWN ? [`... and ${groups.length - SHOWN} more groups`] : [];
  return lines.length === 0 ? '' : [`\n  ${title} (${lines.length}):`, ...groups.slice(0, SHOWN), ...rest].join('\n    ');
}

const sameShape = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((dim, i) => dim === b[i]);

/** Compares a state dict with what a model declares; one CheckpointError lists missing, unexpected and mis-shaped keys. */
export function checkKeys(model: string, specs: readonly ParamSpec[], source: WeightSource): void {
  const missing: string[] = [];
  const misshaped: string[] = [];
  const known = new Set<string>();
  for (const spec of specs) {
    known.add(spec.name);
    if (!source.has(spec.name)) {
      if (!spec.optional) missing.push(`${spec.name} [${spec.shape}]`);
      continue;
    }
    const { shape } = source.info(spec.name);
    if (!spec.anyShape && !sameShape(shape, spec.shape)) misshaped.push(`${spec.name}: file [${shape}], model [${spec.shape}]`);
  }
  const extra = [...source.keys()].filter((key) => !known.has(key));
  if (missing.length + extra.length + misshaped.length === 0) return;
  const detail = list('missing', missing) + list('unexpected', extra) + list('wrong shape', misshaped);
  throw new CheckpointError(`${source.path}: does not fit ${model}:${detail}`, { file: source.path, key: missing[0]?.split(' ')[0] });
}
