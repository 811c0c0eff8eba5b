// Work and memory of a training run, from its configuration: multiply-adds count twice, a backward pass is two forward passes.
import type { VarConfig } from '../models/var/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';
import type { Precision } from '../nn/index.js';

export interface Cost {
  /** Of one iteration, forward and backward. */
  flopsPerIt: number;
  /** Parameters, gradients, moments and averages; f32 whatever the precision. */
  stateBytes: number;
  /** What the forward pass keeps for the backward pass, about. */
  activationBytes: number;
}

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

/** How a run computes. */
export interface Arithmetic {
  readonly precision: Precision;
  /** Gradient checkpointing: every block runs forward twice. */
  readonly recompute: boolean;
}

const bytesOf = (precision: Precision): number => (precision === 'f32' ? 4 : 2);

/** Bytes of f32 and of narrow values that the blocks of one image keep: between blocks, and inside of all and of the largest. */
interface Kept {
  between: number;
  inside: number;
  largest: number;
}

/** The inside of a block that is computed again takes its room when that of the blocks after it, and the head, are done. */
const total = ({ between, inside, largest }: Kept, recompute: boolean, head = 0): number =>
  between + (recompute ? Math.max(largest, head) : inside + head);

/** Per token a block keeps two f32 rows of the residual stream, and narrow ones: norms, q, k, v, attention, projections, twice the hidden layer. */
function varActivations(config: VarConfig, { precision, recompute }: Arithmetic): number {
  const { depth, embedDim: c, mlpRatio, numHeads, patchNums, vocabSize: v } = config;
  const size = bytesOf(precision);
  const tokens = patchNums.reduce((sum, pn) => sum + pn * pn, 0);
  const inside = 4 * c + (8 + 2 * mlpRatio) * c * size + 4 * numHeads;
  // Logits and their gradient, which the products read in their own dtype.
  const head = (4 + size) * c + (precision === 'f32' ? 8 : 8 + size) * v;
  return tokens * total({ between: depth * 4 * c, inside: depth * inside, largest: inside }, recompute, head);
}

/** Blocks keep both norms, what lies between the convolutions, and their output; attention its norm, q, k, v, and two maps. */
function vqvaeActivations({ ch, chMult, numResBlocks, patchNums }: VqvaeConfig, { precision, recompute }: Arithmetic): number {
  const last = chMult.length - 1;
  const kept: Kept = { between: 0, inside: 0, largest: 0 };
  const add = (at: number, between: number, inside: number): void => {
    const pixels = (patchNums.at(-1)! * 2 ** (last - at)) ** 2 * bytesOf(precision);
    kept.between += pixels * between;
    kept.inside += pixels * inside;
    kept.largest = Math.max(kept.largest, pixels * inside);
  };
  const block = (at: number, from: number, to: number): void => add(at, to, from + 2 * to);
  const width = (level: number) => ch * (chMult[level] ?? (level < 0 ? 1 : chMult[last]!));
  for (const half of ['encoder', 'decoder'] as const) {
    const blocks = half === 'encoder' ? numResBlocks : numResBlocks + 1;
    const ends = half === 'encoder' ? 0 : last;
    add(ends, width(ends), 0);
    for (let i = 0; i < 2; i++) block(last, width(last), width(last));
    for (let i = 0; i < 1 + blocks; i++) add(last, width(last), 5 * width(last));
    for (const level of chMult.keys()) {
      const from = half === 'encoder' ? width(level - 1) : width(level + 1);
      for (let i = 0; i < blocks; i++) block(level, i === 0 ? from : width(level), width(level));
      if (half === 'encoder' ? level < last : level > 0) add(half === 'encoder' ? level + 1 : level - 1, width(level), 0);
    }
    // The last norm.
    add(half === 'encoder' ? last : 0, half === 'encoder' ? width(last) : width(0), 0);
  }
  return total(kept, recompute);
}

export function vqvaeCost(config: VqvaeConfig, batch: number, state: number, how: Arithmetic): Cost {
  return {
    flopsPerIt: (how.recompute ? 4 : 3) * batch * vqvaeForwardFlops(config, 'both'),
    stateBytes: state,
    activationBytes: batch * vqvaeActivations(config, how),
  };
}

/** `encoder`: the VQVAE that encodes every batch; absent with a token cache. */
export function varCost(config: VarConfig, batch: number, state: number, how: Arithmetic & { encoder?: VqvaeConfig }): Cost {
  const encode = how.encoder ? vqvaeForwardFlops(how.encoder, 'encoder') : 0;
  return {
    flopsPerIt: batch * ((how.recompute ? 4 : 3) * varForwardFlops(config) + encode),
    stateBytes: state,
    activationBytes: batch * varActivations(config, how),
  };
}

/** Bytes that values, gradients, moments and an average of `parameters` elements take. */
export function stateBytes(parameters: number, options: { bits: 32 | 8; opt: string; ema: boolean }): number {
  const moments = options.opt === 'sgd' ? 4 : options.bits === 8 ? 2 * (1 + 4 / 256) : 8;
  return Math.round(parameters * (8 + moments + (options.ema ? 4 : 0)));
}
