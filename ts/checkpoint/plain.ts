import { fail } from './fail.js';
import { keyName } from './flatten.js';
import { LIMITS } from './limits.js';
import { FileTensor, PyFloat, PyName, PyObject, PyStorage, PyTuple, type PyValue } from './value.js';

/**
 * A structure as plain values: dicts become objects without prototype (keys as text), tuples and sets arrays, floats numbers,
 * tensors `{ dtype, shape }`, names their dotted text, other objects `{ type, args, state }`.
 */
export function toPlain(value: PyValue, file: string): unknown {
  let visits = 0;
  const convert = (node: PyValue, depth: number): unknown => {
    if (++visits > LIMITS.nodes) fail({ file }, `more than ${LIMITS.nodes} values in its structure`);
    if (depth > LIMITS.depth) fail({ file }, `containers nested more than ${LIMITS.depth} deep (or in a circle)`);
    const all = (items: Iterable<PyValue>): unknown[] => Array.from(items, (item) => convert(item, depth + 1));
    if (node instanceof Map) {
      const out = Object.create(null) as Record<string, unknown>;
      for (const [key, item] of node) out[keyName(key)] = convert(item, depth + 1);
      return out;
    }
    if (Array.isArray(node) || node instanceof Set) return all(node);
    if (node instanceof PyTuple) return all(node.items);
    if (node instanceof PyFloat) return node.value;
    if (node instanceof FileTensor) return { dtype: node.dtype, shape: [...node.shape] };
    if (node instanceof PyName) return node.toString();
    if (node instanceof PyStorage) return { storage: node.key, elements: node.elements };
    if (node instanceof PyObject)
      return { type: node.type, args: all(node.args), state: node.state === undefined ? undefined : convert(node.state, depth + 1) };
    return node;
  };
  return convert(value, 0);
}
