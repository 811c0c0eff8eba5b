// Work and memory of a training run, from its configuration: multiply-adds count twice, a backward pass is two forward passes.
import type { VarConfig } from '../models/var/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';

export interface Cost {
  /** Of one iteration, forward and backward. */
  flopsPerIt: number;
  /** Parameters, gradients, moments and averages. */
  stateBytes: number;
}

/** FLOPs of one image through encoder, decoder or both, convolutions and attention of the middle counted. */
export function vqvaeForwardFlops(config: VqvaeConfig, parts: 'encoder' | 'both'): number {
  const { ch, chMult, numResBlocks, zChannels, patchNums } = config;
  const conv = (side: number, from: number, to: number, k = 3) => 2 * k * k * from * to * side * side;
  const last = chMult.length - 1;
  const side = (level: number) => patchNums.at(-1)! * 2 ** (last - level);
  const stack = (blocks: number): number => {
    let sum = 0;
    for (const [level, mult] of chMult.entries()) {
      const width = ch * mult;
      sum += conv(side(level), ch * (chMult[level - 1] ?? 1), width) + (2 * blocks - 1) * conv(side(level), width, width);
      if (level < last) sum += conv(side(level + 1), width, width);
    }
    const top = ch * chMult[last]!;
    const tokens = side(last) ** 2;
    const attention = 8 * tokens * top * top + 4 * tokens * tokens * top;
    return sum + 4 * conv(side(last), top, top) + 2 * attention + conv(side(last), top, zChannels) + conv(side(0), 3, ch);
  };
  const encoder = stack(numResBlocks) + vqFlops(config);
  return parts === 'encoder' ? encoder : encoder + stack(numResBlocks + 1);
}

/** Nearest codewords and phi of all scales. */
function vqFlops({ patchNums, vocabSize, zChannels }: VqvaeConfig): number {
  const tokens = patchNums.reduce((sum, pn) => sum + pn * pn, 0);
  return 2 * tokens * vocabSize * zChannels + patchNums.length * 18 * zChannels * zChannels * patchNums.at(-1)! ** 2;
}

/** FLOPs of one image through the transformer: block-causal attention, AdaLN once per image. */
export function varForwardFlops(config: VarConfig): number {
  const { depth, embedDim: c, mlpRatio, patchNums, vocabSize, zChannels, sharedAln } = config;
  let tokens = 0;
  let pairs = 0;
  for (const pn of patchNums) {
    tokens += pn * pn;
    pairs += pn * pn * tokens;
  }
  const linear = tokens * (8 + 4 * mlpRatio) * c * c;
  const adaln = 12 * c * c;
  return depth * (linear + 4 * pairs * c) + (sharedAln ? 1 : depth) * adaln + 2 * tokens * c * (vocabSize + zChannels);
}

export function vqvaeCost(config: VqvaeConfig, batch: number, state: number): Cost {
  return { flopsPerIt: 3 * batch * vqvaeForwardFlops(config, 'both'), stateBytes: state };
}

/** `encoder`: the VQVAE that encodes every batch; absent with a token cache. */
export function varCost(config: VarConfig, batch: number, state: number, more: { encoder?: VqvaeConfig; recompute?: boolean }): Cost {
  const forward = varForwardFlops(config);
  const encode = more.encoder ? vqvaeForwardFlops(more.encoder, 'encoder') : 0;
  return { flopsPerIt: batch * ((more.recompute ? 4 : 3) * forward + encode), stateBytes: state };
}

/** Bytes that values, gradients, moments and an average of `parameters` elements take. */
export function stateBytes(parameters: number, options: { bits: 32 | 8; opt: string; ema: boolean }): number {
  const moments = options.opt === 'sgd' ? 4 : options.bits === 8 ? 2 * (1 + 4 / 256) : 8;
  return Math.round(parameters * (8 + moments + (options.ema ? 4 : 0)));
}
