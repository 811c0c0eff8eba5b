// Random choices of VAR training: which labels are dropped, and which residual branches.
import { philox, uniform } from '../../core/philox.js';

/** Third counter word by purpose; the fourth tells the host's draws of training from all others. */
const LABEL_DROP = 0x6c64;
const DROP_PATH = 0x6470;
const TRAIN = 0x74;

export interface DropKey {
  readonly seed: number;
  readonly gIt: number;
  /** Place of the image in the dataset. */
  readonly image: number;
}

/** A uniform number of (seed, iteration, image, purpose, place). */
function draw({ seed, gIt, image }: DropKey, purpose: number, place: number): number {
  const counter = [gIt, image, ((purpose << 16) | place) >>> 0, TRAIN] as const;
  return uniform(philox(counter, [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0])[0]);
}

/** Labels of a batch, each replaced by the unconditional class with probability `rate`. */
export function dropLabels(labels: Int32Array, rate: number, unconditional: number, keyOf: (b: number) => DropKey): Int32Array {
  if (rate === 0) return labels;
  return labels.map((label, b) => (draw(keyOf(b), LABEL_DROP, 0) < rate ? unconditional : label));
}

/** Share of dropped branches of a block: 0 in the first, `rate` in the last. */
export function dropPathRate(rate: number, block: number, depth: number): number {
  return depth === 1 ? 0 : (rate * block) / (depth - 1);
}

/** Rows of a block's modulation [B, 6, C]; the first two are the gates of its branches. */
const ROWS = 6;
const GATES = [0, 1] as const;

/**
 * Stochastic depth per image: for every block the factors [B, 6] of the rows of its modulation, 0 or 1 / (1 - rate) for the gate of a
 * branch, 1 for the others. Undefined where nothing is dropped.
 */
export function dropPaths(batch: number, depth: number, rate: number, keyOf: (b: number) => DropKey): (Float32Array | undefined)[] {
  return Array.from({ length: depth }, (_, block) => {
    const p = dropPathRate(rate, block, depth);
    if (p === 0) return undefined;
    const factors = new Float32Array(batch * ROWS).fill(1);
    for (let b = 0; b < batch; b++)
      for (const gate of GATES) factors[b * ROWS + gate] = draw(keyOf(b), DROP_PATH, 2 * block + gate) < p ? 0 : 1 / (1 - p);
    return factors;
  });
}
