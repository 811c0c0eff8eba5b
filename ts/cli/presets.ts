// Sizes of models with seeded random weights: the released ones, and small ones for trying and testing.
import { presetConfig, VAR_PRESETS, type VarConfig, type VarPresetName, varConfig } from '../models/var/index.js';
import { PATCH_NUMS_256, type VqvaeConfig, vqvaeConfig } from '../models/vqvae/index.js';

export interface ModelSize {
  vqvae: VqvaeConfig;
  var: VarConfig;
}

const TINY_PATCHES = [1, 2, 3, 4];

const SMALL: Record<string, () => ModelSize> = {
  /** 64 x 64 pixels, well below a second an image. */
  tiny: () => ({
    vqvae: vqvaeConfig({ ch: 32, vocabSize: 256, zChannels: 16, patchNums: TINY_PATCHES }),
    var: varConfig({ depth: 2, numClasses: 1000, vocabSize: 256, zChannels: 16, patchNums: TINY_PATCHES }),
  }),
  /** 256 x 256 pixels by a narrow VQVAE and a shallow transformer. */
  small: () => ({
    vqvae: vqvaeConfig({ ch: 64, patchNums: [...PATCH_NUMS_256] }),
    var: varConfig({ depth: 8, patchNums: [...PATCH_NUMS_256] }),
  }),
};

export const PRESETS: readonly string[] = [...Object.keys(SMALL), ...Object.keys(VAR_PRESETS)];

export function modelSize(name: string): ModelSize {
  const small = SMALL[name];
  if (small) return small();
  const config = presetConfig(name as VarPresetName);
  return { vqvae: vqvaeConfig({ patchNums: config.patchNums }), var: config };
}
