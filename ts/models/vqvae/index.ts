export type { WinogradTile } from './blocks.js';
export { DEFAULT_VQVAE, inferVqvaeConfig, PATCH_NUMS_256, PATCH_NUMS_512, type VqvaeConfig, vqvaeConfig } from './config.js';
export { type VqvaeBuildOptions, VqvaeModel } from './model.js';
export { phiIndex } from './phi.js';
export {
  frozenGraph,
  type QuantizeTrain,
  type QuantizeTrainOptions,
  quantizeTrain,
  scaleResiduals,
  type TrainGraph,
} from './quantize-train.js';
export type { EntropyOptions } from './quantize-train-entropy.js';
export { MultiScaleQuantizer, type PatchSize, patchSizes } from './quantizer.js';
export { winogradTile } from './tile.js';
