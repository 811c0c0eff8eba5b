import { CheckpointError } from '../core/errors.js';
import type { ParamSpec } from './module.js';
import type { WeightSource } from './source.js';

const SHOWN = 8;

function list(title: string, lines: readonly string[]): string {
  if (lines.length === 0) return '';
  const rest = lines.length > SHOWN ? `\n    ... and ${lines.length - SHOWN} more` : '';
  return `\n  ${title} (${lines.length}):${lines
    .slice(0, SHOWN)
    .map((line) => `\n    ${line}`)
    .join('')}${rest}`;
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
  throw new CheckpointError(`state dict does not fit ${model}:${detail}`, { file: source.path });
}
