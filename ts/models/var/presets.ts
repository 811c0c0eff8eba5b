import { PATCH_NUMS_256, PATCH_NUMS_512 } from '../vqvae/index.js';

/** A released VAR: its size, the resolution it was trained for, and the file names of its weights. */
export interface VarPreset {
  readonly depth: number;
  readonly patchNums: readonly number[];
  readonly sharedAln: boolean;
  /** Side length of the images, pixels. */
  readonly resolution: number;
  readonly file: string;
  readonly vaeFile: string;
}

export const VAE_FILE = 'vae_ch160v4096z32.pth';

const at256 = (depth: number): VarPreset => ({
  depth,
  patchNums: PATCH_NUMS_256,
  sharedAln: false,
  resolution: 256,
  file: `var_d${depth}.pth`,
  vaeFile: VAE_FILE,
});

/** The released models (VAR, table 1); width is 64 depth, heads are depth, ImageNet's 1000 classes, 4096 codewords of 32 channels. */
export const VAR_PRESETS = {
  d16: at256(16),
  d20: at256(20),
  d24: at256(24),
  d30: at256(30),
  'd36-s': { depth: 36, patchNums: PATCH_NUMS_512, sharedAln: true, resolution: 512, file: 'var_d36.pth', vaeFile: VAE_FILE },
} as const satisfies Record<string, VarPreset>;

export type VarPresetName = keyof typeof VAR_PRESETS;
