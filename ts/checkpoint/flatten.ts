// Nested structure -> flat map of tensors, names joined with dots. Bounded in depth and in visits: a structure may refer to itself.
import { fail } from './fail.js';
import { LIMITS } from './limits.js';
import { FileTensor, PyFloat, PyName, PyTuple, type PyValue } from './value.js';

export interface Flat {
  tensors: Map<string, FileTensor>;
  /** True when the outermost dict holds tensors itself, as a state dict does. */
  direct: boolean;
}

/** Collects every tensor below value. */
export function flatten(value: PyValue, file: string): Flat {
  const tensors = new Map<string, FileTensor>();
  let visits = 0;
  const walk = (node: PyValue, path: string, depth: number): void => {
    if (++visits > LIMITS.nodes) fail({ file }, `more than ${LIMITS.nodes} values in its structure`);
    if (node instanceof FileTensor) {
      if (tensors.has(path)) fail({ file, key: path }, 'two tensors have this name');
      tensors.set(path, node);
      return;
    }
    if (!(node instanceof Map || Array.isArray(node) || node instanceof PyTuple)) return;
    if (depth >= LIMITS.depth) fail({ file }, `containers nested more than ${LIMITS.depth} deep (or in a circle)`);
    const entries = node instanceof PyTuple ? node.items.entries() : (node as Map<PyValue, PyValue> | PyValue[]).entries();
    for (const [key, item] of entries) walk(item, depth === 0 ? keyName(key) : `${path}.${keyName(key)}`, depth + 1);
  };
  walk(value, '', 0);
  const direct = value instanceof Map && [...value.values()].some((item) => item instanceof FileTensor);
  return { tensors, direct };
}

/** A dict key as part of a name. */
export function keyName(key: PyValue): string {
  if (typeof key === 'string') return key;
  if (key === null || typeof key === 'number' || typeof key === 'bigint' || typeof key === 'boolean') return String(key);
  if (key instanceof PyFloat) return String(key.value);
  if (key instanceof PyName) return key.toString();
  return `<${key.constructor.name}>`;
}
