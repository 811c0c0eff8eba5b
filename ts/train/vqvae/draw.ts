import { PHILOX_STREAMS, philox, uniform } from '../../core/philox.js';
import { seedWords, streamOf } from '../../nn/index.js';

/** Integers in [0, n), numbered: the i-th of (seed, what, at) is the same whenever and in whatever order they are drawn. */
export function drawIndex(seed: number, what: string, at: number, i: number, n: number): number {
  const [word] = philox([i, at, streamOf(what), PHILOX_STREAMS.host], seedWords(seed));
  return Math.floor(uniform(word) * n);
}

/** `count` different integers in [0, n) in random order, with repetitions only where count > n. */
export function drawRows(seed: number, what: string, at: number, count: number, n: number): Int32Array {
  const out = new Int32Array(count);
  const moved = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const left = n - (i % n);
    if (left === n) moved.clear();
    const pick = drawIndex(seed, what, at, i, left);
    out[i] = moved.get(pick) ?? pick;
    moved.set(pick, moved.get(left - 1) ?? left - 1);
  }
  return out;
}
