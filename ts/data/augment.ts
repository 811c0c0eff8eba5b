// The training transform of the reference after its resize: random crop, optional flip. All draws come from Philox keyed by
// (seed, epoch, index), so neither workers nor batches nor the start of a run change them.
import { PHILOX_STREAMS, philox, uniform } from '../core/philox.js';

export interface Crop {
  readonly top: number;
  readonly left: number;
  /** Mirrored left to right. */
  readonly flip: boolean;
}

export interface Drawn {
  readonly seed: number;
  readonly epoch: number;
  readonly index: number;
}

/** Four random words for an image in an epoch; `stream` separates purposes. seed: an integer in [0, 2^53). */
export function drawWords({ seed, epoch, index }: Drawn, stream: number, part = 0): readonly number[] {
  return philox([index, epoch, part, stream], [seed >>> 0, Math.floor(seed / 2 ** 32)]);
}

/** Integer in [0, n), even to within n / 2^32. */
export const below = (word: number, n: number): number => Math.min(n - 1, Math.floor(uniform(word) * n));

/** A crop of side reso from height x width, every position equally likely; mirrored with probability 1/2 where hflip. */
export function drawCrop(height: number, width: number, reso: number, hflip: boolean, drawn: Drawn): Crop {
  const [y, x, side] = drawWords(drawn, PHILOX_STREAMS.augment) as [number, number, number];
  return { top: below(y, height - reso + 1), left: below(x, width - reso + 1), flip: hflip && uniform(side) < 0.5 };
}

/** Copies the crop of an RGB image (bytes HWC) to `out` at an offset. The reference mirrors before it resizes; that differs by a rounding. */
export function cropInto(out: Uint8Array, at: number, data: Uint8Array, width: number, reso: number, { top, left, flip }: Crop): void {
  const row = 3 * reso;
  for (let y = 0; y < reso; y++) {
    const from = 3 * ((top + y) * width + left);
    const to = at + y * row;
    if (!flip) {
      out.set(data.subarray(from, from + row), to);
      continue;
    }
    for (let x = 0, p = from + row - 3, q = to; x < reso; x++, p -= 3, q += 3) {
      out[q] = data[p]!;
      out[q + 1] = data[p + 1]!;
      out[q + 2] = data[p + 2]!;
    }
  }
}
