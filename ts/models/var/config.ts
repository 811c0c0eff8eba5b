import { z } from 'zod';
import { dtypeSize } from '../../core/dtype.js';
import { ArgumentError, CheckpointError } from '../../core/errors.js';
import type { Precision, WeightSource } from '../../nn/index.js';
import { parseConfig, toldConfig } from '../config.js';
import { PATCH_NUMS_256, PATCH_NUMS_512, type VqvaeConfig } from '../vqvae/index.js';
import { VAR_PRESETS, type VarPreset, type VarPresetName } from './presets.js';

const count = (max: number) => z.number().int().min(1).max(max);

const schema = z
  .object({
    numClasses: count(1 << 20),
    depth: count(256),
    embedDim: count(1 << 15),
    numHeads: count(512),
    mlpRatio: z.number().min(0.1).max(16),
    normEps: z.number().positive().max(1),
    /** One AdaLN projection for all blocks plus an offset per block, instead of one projection per block. */
    sharedAln: z.boolean(),
    /** q and k normalised per head, with a learnt scale; otherwise scores are scaled by 0.25 / sqrt(c). */
    attnL2Norm: z.boolean(),
    /** Probability of replacing the label by the unconditional class in training. */
    condDropRate: z.number().min(0).max(1),
    patchNums: z.array(count(1024)).min(2).max(64),
    vocabSize: count(1 << 20),
    zChannels: count(4096),
  })
  .strict()
  .refine((c) => c.embedDim % c.numHeads === 0, 'embedDim must be a multiple of numHeads');

/** Hyperparameters of the transformer, named as in the reference; vocabSize and zChannels are the VQVAE's. */
export type VarConfig = z.infer<typeof schema>;

export const DEFAULT_VAR: VarConfig = {
  numClasses: 1000,
  depth: 16,
  embedDim: 1024,
  numHeads: 16,
  mlpRatio: 4,
  normEps: 1e-6,
  sharedAln: false,
  attnL2Norm: true,
  condDropRate: 0.1,
  patchNums: [...PATCH_NUMS_256],
  vocabSize: 4096,
  zChannels: 32,
};

/** Checks a configuration. Width and heads follow the depth (64 depth, depth) unless given. Throws ArgumentError. */
export function varConfig(given: Partial<VarConfig> = {}): VarConfig {
  const depth = given.depth ?? DEFAULT_VAR.depth;
  const embedDim = given.embedDim ?? 64 * depth;
  const full = { ...DEFAULT_VAR, depth, embedDim, numHeads: embedDim / 64, ...given };
  return parseConfig('VAR config', schema, full, DEFAULT_VAR);
}

export function presetConfig(name: VarPresetName): VarConfig {
  const { depth, patchNums, sharedAln } = preset(name);
  return varConfig({ depth, patchNums: [...patchNums], sharedAln });
}

export function preset(name: string): VarPreset {
  if (!Object.hasOwn(VAR_PRESETS, name))
    throw new ArgumentError(`preset: ${JSON.stringify(name)} was given, accepted is one of ${Object.keys(VAR_PRESETS).join(', ')}`);
  return VAR_PRESETS[name as VarPresetName];
}

/** Rows of a block's cache: the last scale is never read again and has no place in it. */
export function cacheLength({ patchNums }: VarConfig): number {
  return total(patchNums.slice(0, -1));
}

/** Bytes of keys and values of all blocks while `images` are generated; guidance doubles their rows. */
export function cacheBytes(config: VarConfig, images: number, precision: Precision): number {
  return 2 * images * config.depth * 2 * cacheLength(config) * config.embedDim * dtypeSize(precision);
}

/** Token counts of the scales, as the buffer lvl_1L tells them; null where the file lacks it. */
export type LevelReader = () => Promise<readonly number[] | null>;

/** Reads what keys, shapes and the level buffer of a state dict tell; `given` wins only where the file is silent. */
export async function inferVarConfig(
  source: WeightSource,
  given: Partial<VarConfig>,
  vqvae: VqvaeConfig,
  levels: LevelReader,
): Promise<VarConfig> {
  const [, embedDim] = dims(source, 'class_emb.weight');
  let depth = 0;
  while (source.has(`blocks.${depth}.attn.mat_qkv.weight`)) depth++;
  const attnL2Norm = source.has('blocks.0.attn.scale_mul_1H11');
  const found: Partial<VarConfig> = {
    depth,
    embedDim: embedDim!,
    attnL2Norm,
    numClasses: dims(source, 'class_emb.weight')[0]! - 1,
    mlpRatio: dims(source, 'blocks.0.ffn.fc1.weight')[0]! / embedDim!,
    sharedAln: source.has('shared_ada_lin.1.weight'),
    vocabSize: dims(source, 'head.weight')[0]!,
    zChannels: dims(source, 'word_embed.weight')[1]!,
    patchNums: await inferPatchNums(source, given.patchNums, vqvae.patchNums, levels),
  };
  if (attnL2Norm) found.numHeads = dims(source, 'blocks.0.attn.scale_mul_1H11')[1]!;
  for (const [name, value] of Object.entries(found)) {
    const asked = given[name as keyof VarConfig];
    if (asked !== undefined && JSON.stringify(asked) !== JSON.stringify(value))
      throw new ArgumentError(
        `VAR: ${name} ${JSON.stringify(asked)} was asked for, ${source.path} holds ${name} ${JSON.stringify(value)}${released(found)}`,
      );
  }
  const told = toldConfig<VarConfig>(source, ['numHeads', 'normEps', 'condDropRate']);
  return varConfig({ ...told, ...given, ...found });
}

/** Throws ArgumentError where a VQVAE does not belong to a VAR; the message names what would. */
export function checkPairing(config: VarConfig, vqvae: VqvaeConfig, path: string): void {
  const wrong: string[] = [];
  if (config.vocabSize !== vqvae.vocabSize) wrong.push(`vocabSize ${config.vocabSize} (the VQVAE has ${vqvae.vocabSize})`);
  if (config.zChannels !== vqvae.zChannels) wrong.push(`zChannels ${config.zChannels} (the VQVAE has ${vqvae.zChannels})`);
  if (JSON.stringify(config.patchNums) !== JSON.stringify(vqvae.patchNums))
    wrong.push(
      `patchNums ${config.patchNums.join('_')} (the VQVAE has ${vqvae.patchNums.join('_')}; give VQVAE.load { patchNums: [${config.patchNums}] }, or --patch-nums ${config.patchNums.join('_')})`,
    );
  if (wrong.length > 0) throw new ArgumentError(`VAR and VQVAE do not fit: ${path} needs ${wrong.join(' and ')}${released(config)}`);
}

function dims(source: WeightSource, key: string): readonly number[] {
  if (!source.has(key)) throw new CheckpointError(`${source.path}: not a VAR state dict, it has no ${key}`, { file: source.path, key });
  return source.info(key).shape;
}

function released(found: Partial<VarConfig>): string {
  const entry = Object.entries(VAR_PRESETS).find(
    ([, p]) => p.depth === found.depth && 64 * p.depth === found.embedDim && p.sharedAln === found.sharedAln,
  );
  return entry
    ? `; it is preset ${entry[0]} (${entry[1].file} with ${entry[1].vaeFile} at ${entry[1].resolution} x ${entry[1].resolution})`
    : '';
}

const total = (list: readonly number[]) => list.reduce((sum, pn) => sum + pn * pn, 0);

async function inferPatchNums(
  source: WeightSource,
  given: readonly number[] | undefined,
  ofVqvae: readonly number[],
  levels: LevelReader,
): Promise<number[]> {
  const tokens = dims(source, 'pos_1LC')[1]!;
  const scales = dims(source, 'lvl_embed.weight')[0]!;
  const counts = await levels();
  if (counts) {
    const sides = counts.map((n) => Math.round(Math.sqrt(n)));
    if (sides.length === scales && total(sides) === tokens && sides.every((side, i) => side * side === counts[i])) return sides;
    throw new CheckpointError(`${source.path}: lvl_1L does not describe ${scales} square token maps of ${tokens} tokens`, {
      file: source.path,
      key: 'lvl_1L',
    });
  }
  const fits = (list: readonly number[] | undefined) => list !== undefined && list.length === scales && total(list) === tokens;
  const list = [given, ofVqvae, PATCH_NUMS_256, PATCH_NUMS_512].find(fits);
  if (!list)
    throw new ArgumentError(
      `patchNums: ${source.path} has ${scales} scales of ${tokens} tokens in all; neither the VQVAE's ${ofVqvae.join('_')} nor a released list fits, give config { patchNums }`,
    );
  return [...list];
}
