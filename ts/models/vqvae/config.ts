import { z } from 'zod';
import { ArgumentError, CheckpointError } from '../../core/errors.js';
import type { WeightSource } from '../../nn/index.js';
import { parseConfig, toldConfig } from '../config.js';

/** Side lengths of the token maps at 256 x 256, the reference's default. */
export const PATCH_NUMS_256: readonly number[] = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
/** Side lengths of the token maps at 512 x 512. */
export const PATCH_NUMS_512: readonly number[] = [1, 2, 3, 4, 6, 9, 13, 18, 24, 32];

const count = (max: number) => z.number().int().min(1).max(max);

const schema = z
  .object({
    /** Number of codewords V. */
    vocabSize: count(1 << 20),
    /** Channels of a codeword, Cvae. */
    zChannels: count(4096),
    /** Base width of encoder and decoder, a multiple of normGroups. */
    ch: count(4096),
    chMult: z.array(count(64)).min(1).max(10),
    numResBlocks: count(16),
    /** Groups of GroupNorm, 32 in the reference. As many groups as channels would wipe out each channel's mean: narrow nets want fewer. */
    normGroups: count(1024),
    /** Side lengths of the token maps, from small to large. */
    patchNums: z.array(count(1024)).min(2).max(64),
    quantConvKs: z.union([z.literal(1), z.literal(3)]),
    /** Share of the convolution in phi(h) = (1 - r) h + r conv(h); 0: no phi. */
    quantResi: z.number().min(-1).max(1),
    /** 0: one phi per scale, 1: one for all, K: K of them. */
    shareQuantResi: z.number().int().min(0).max(64),
    /** Nearest codeword by cosine instead of by distance. */
    usingZnorm: z.boolean(),
    /** Weight of the commitment loss. */
    beta: z.number().min(0).max(100),
  })
  .strict()
  .refine((c) => c.ch % c.normGroups === 0, { path: ['ch'], message: 'must be a multiple of normGroups' });

/** Hyperparameters of the multi-scale VQVAE, named as in the reference. */
export type VqvaeConfig = z.infer<typeof schema>;

export const DEFAULT_VQVAE: VqvaeConfig = {
  vocabSize: 4096,
  zChannels: 32,
  ch: 160,
  chMult: [1, 1, 2, 2, 4],
  numResBlocks: 2,
  normGroups: 32,
  patchNums: [...PATCH_NUMS_256],
  quantConvKs: 3,
  quantResi: 0.5,
  shareQuantResi: 4,
  usingZnorm: false,
  beta: 0.25,
};

/** Checks a configuration; what is absent comes from the released vae_ch160v4096z32. Throws ArgumentError. */
export function vqvaeConfig(given: Partial<VqvaeConfig> = {}): VqvaeConfig {
  return parseConfig('VQVAE config', schema, { ...DEFAULT_VQVAE, ...given }, DEFAULT_VQVAE);
}

/** Reads what the shapes of a state dict tell; `given` wins, except where it contradicts a shape. */
export function inferVqvaeConfig(source: WeightSource, given: Partial<VqvaeConfig> = {}): VqvaeConfig {
  const codebook = dims(source, 'quantize.embedding.weight');
  const convIn = dims(source, 'encoder.conv_in.weight');
  const ch = convIn[0]!;
  const chMult: number[] = [];
  while (source.has(`encoder.down.${chMult.length}.block.0.conv1.weight`))
    chMult.push(dims(source, `encoder.down.${chMult.length}.block.0.conv1.weight`)[0]! / ch);
  let numResBlocks = 0;
  while (source.has(`encoder.down.0.block.${numResBlocks}.conv1.weight`)) numResBlocks++;
  const found = {
    vocabSize: codebook[0]!,
    zChannels: codebook[1]!,
    ch,
    chMult,
    numResBlocks,
    quantConvKs: dims(source, 'quant_conv.weight')[2] as 1 | 3,
    ...inferPhi(source),
  };
  for (const [name, value] of Object.entries(found)) {
    const asked = given[name as keyof VqvaeConfig];
    if (asked !== undefined && value !== undefined && JSON.stringify(asked) !== JSON.stringify(value))
      throw new ArgumentError(
        `VQVAE config: ${name} ${JSON.stringify(asked)} was asked for, ${source.path} holds ${JSON.stringify(value)}`,
      );
  }
  const defined = Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
  const told = toldConfig<VqvaeConfig>(source, ['patchNums', 'normGroups', 'quantResi', 'usingZnorm', 'beta']);
  return vqvaeConfig({ patchNums: inferPatchNums(source), ...told, ...given, ...defined });
}

function dims(source: WeightSource, key: string): readonly number[] {
  if (!source.has(key)) throw new CheckpointError(`${source.path}: not a VQVAE state dict, it has no ${key}`, { file: source.path, key });
  return source.info(key).shape;
}

function inferPhi(source: WeightSource): { shareQuantResi?: number; quantResi?: number } {
  const counted = (prefix: string) => {
    let n = 0;
    while (source.has(`quantize.quant_resi.${prefix}${n}.weight`)) n++;
    return n;
  };
  if (source.has('quantize.quant_resi.qresi.weight')) return { shareQuantResi: 1 };
  const shared = counted('qresi_ls.');
  if (shared > 0) return { shareQuantResi: shared };
  return counted('') > 0 ? { shareQuantResi: 0 } : { quantResi: 0 };
}

/** The number of scales is known, their sizes are not: 1, 2, 3, ... below the two released lists. */
function inferPatchNums(source: WeightSource): number[] {
  const key = 'quantize.ema_vocab_hit_SV';
  const scales = source.has(key) ? source.info(key).shape[0]! : PATCH_NUMS_256.length;
  return scales === PATCH_NUMS_256.length ? [...PATCH_NUMS_256] : Array.from({ length: scales }, (_, i) => i + 1);
}
