export type { WinogradTile } from './blocks.js';
export { DEFAULT_VQVAE, inferVqvaeConfig, PATCH_NUMS_256, PATCH_NUMS_512, type VqvaeConfig, vqvaeConfig } from './config.js';
export { type VqvaeBuildOptions, VqvaeModel } from './model.js';
export { phiIndex } from './phi.js';
export { type PatchSize, patchSizes } from './quantizer.js';
