export { type GridOptions, makeGrid } from './grid.js';
export { type DecodeOptions, decodeImage, encodePng, type RgbImage } from './image.js';
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
