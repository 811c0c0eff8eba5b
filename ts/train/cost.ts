// Work and memory of a training run, from its configuration: multiply-adds count twice, a backward pass is two forward passes.
import type { VarConfig } from '../models/var/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';
import type { Precision } from '../nn/index.js';

export interface Cost {
  /** Of one iteration, forward and backward. */
  flopsPerIt: number;
  /** Parameters, gradients, moments and averages; f32 whatever the precision. */
  stateBytes: number;
  /** The copies of the weights, in the precision of a step, that its products read. */
  packedBytes: number;
}

/** What a run holds besides activations. */
export type Memory = Pick<Cost, 'stateBytes' | 'packedBytes'>;

/** FLOPs of one image through encoder, or encoder and decoder: convolutions, attention, quantizer. */
export function vqvaeForwardFlops(config: VqvaeConfig, parts: 'encoder' | 'both'): number {
  const encoder = halfFlops(config, 'encoder') + vqFlops(config);
  return parts === 'encoder' ? encoder : encoder + halfFlops(config, 'decoder');
}

function halfFlops({ ch, chMult, numResBlocks, zChannels, patchNums, quantConvKs }: VqvaeConfig, half: 'encoder' | 'decoder'): number {
  const last = chMult.length - 1;
  const side = (level: number) => patchNums.at(-1)! * 2 ** (last - level);
  const width = (level: number) => ch * (chMult[level] ?? (level < 0 ? 1 : chMult[last]!));
  const conv = (at: number, from: number, to: number, k = 3) => 2 * k * k * from * to * side(at) ** 2;
  const block = (at: number, from: number, to: number) => conv(at, from, to) + conv(at, to, to) + (from === to ? 0 : conv(at, from, to, 1));
  const top = width(last);
  const attention = 8 * side(last) ** 2 * top * top + 4 * side(last) ** 4 * top;
  const blocks = half === 'encoder' ? numResBlocks : numResBlocks + 1;
  let sum = 2 * block(last, top, top) + (1 + blocks) * attention + conv(last, zChannels, zChannels, quantConvKs);
  sum += conv(0, 3, ch) + conv(last, top, zChannels);
  for (const level of chMult.keys()) {
    const from = half === 'encoder' ? width(level - 1) : width(level + 1);
    sum += block(level, from, width(level)) + (blocks - 1) * block(level, width(level), width(level));
    if (half === 'encoder' && level < last) sum += conv(level + 1, width(level), width(level));
    if (half === 'decoder' && level > 0) sum += conv(level - 1, width(level), width(level));
  }
  return sum;
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

/** `recompute`: with gradient checkpointing every block runs forward twice. */
export function vqvaeCost(config: VqvaeConfig, batch: number, memory: Memory, recompute = false): Cost {
  return { flopsPerIt: (recompute ? 4 : 3) * batch * vqvaeForwardFlops(config, 'both'), ...memory };
}

/** `encoder`: the VQVAE that encodes every batch; absent with a token cache. */
export function varCost(config: VarConfig, batch: number, memory: Memory, more: { encoder?: VqvaeConfig; recompute?: boolean }): Cost {
  const forward = varForwardFlops(config);
  const encode = more.encoder ? vqvaeForwardFlops(more.encoder, 'encoder') : 0;
  return { flopsPerIt: batch * ((more.recompute ? 4 : 3) * forward + encode), ...memory };
}

/** Bytes that values, gradients, moments and an average of `parameters` elements take. */
export function stateBytes(parameters: number, options: { bits: 32 | 8; opt: string; ema: boolean }): number {
  const moments = options.opt === 'sgd' ? 4 : options.bits === 8 ? 2 * (1 + 4 / 256) : 8;
  return Math.round(parameters * (8 + moments + (options.ema ? 4 : 0)));
}

/** Bytes of the state and of the weights as a step of this precision packs them (nearly all parameters are packed). */
export function memoryOf(parameters: number, options: { bits: 32 | 8; opt: string; ema: boolean; precision: Precision }): Memory {
  return { stateBytes: stateBytes(parameters, options), packedBytes: parameters * (options.precision === 'f32' ? 4 : 2) };
}
