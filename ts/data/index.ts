export type { Batch, BatchSource, ImageBatch, TokenBatch } from './batch.js';
export { type GridOptions, makeGrid, paste } from './grid.js';
export { type DecodeOptions, decodeImage, encodePng, type RawImage } from './image.js';
export {
  type LoadImagesOptions,
  loadImages,
  type Placement,
  type PreprocessOptions,
  placement,
  preprocess,
  resizeCrop,
} from './preprocess.js';
export { evalIndices, TrainSampler, type TrainSamplerOptions } from './sampler.js';
export { randperm } from './torch-random.js';
