// What an op writes in place, none of its other inputs may hold: kernels read and write in any order and on several threads.
import { dtypeSize } from '../core/dtype.js';
import { ArgumentError } from '../core/errors.js';
import type { OpDecl } from '../core/types.js';
import type { Place, Tensor } from './tensor.js';

/** The memory a tensor lies in. */
export function placeOf(t: Tensor): Place {
  return t.place ?? { slot: t.slot, generation: t.generation, at: 0 };
}

function overlap(a: Tensor, b: Tensor): boolean {
  if (a === b) return true;
  if (!a.place && !b.place) return false;
  const [p, q] = [placeOf(a), placeOf(b)];
  if (p.slot !== q.slot || p.generation !== q.generation) return false;
  return p.at < q.at + b.size * dtypeSize(b.dtype) && q.at < p.at + a.size * dtypeSize(a.dtype);
}

// Reads each element before it replaces it, so the very same range may be given twice.
const sameRange = (op: OpDecl, a: Tensor, b: Tensor): boolean =>
  op.name === 'accumulate' && placeOf(a).at === placeOf(b).at && a.size === b.size;

/** Throws ArgumentError where an input that is written in place shares memory with another input. */
export function checkApart(op: OpDecl, inputs: readonly (Tensor | undefined)[]): void {
  for (let i = 0; i < inputs.length; i++) {
    const y = inputs[i];
    if (!y || !op.inputs[i]?.mut) continue;
    for (let j = 0; j < inputs.length; j++) {
      const x = inputs[j];
      if (j === i || !x || !overlap(x, y) || sameRange(op, x, y)) continue;
      throw new ArgumentError(`[${op.name}] ${op.inputs[i]?.name} is written in place and shares memory with ${op.inputs[j]?.name}`);
    }
  }
}
