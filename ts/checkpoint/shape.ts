import { fail, type Where } from './fail.js';
import { LIMITS } from './limits.js';

/** Number of elements; refuses more than LIMITS.rank dimensions and products beyond 2^53. */
export function checkedNumel(shape: readonly number[], where: Where): number {
  if (shape.length > LIMITS.rank) fail(where, `${shape.length} dimensions, at most ${LIMITS.rank} are read`);
  if (shape.includes(0)) return 0;
  let n = 1;
  for (const d of shape) {
    n *= d;
    if (!Number.isSafeInteger(n)) fail(where, `shape [${shape}] has more than 2^53 elements`);
  }
  return n;
}

/** True for whole numbers from 0 to 2^53 - 1. */
export function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
