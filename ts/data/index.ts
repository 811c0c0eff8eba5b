export type { Batch, BatchSource, ImageBatch, TokenBatch } from './batch.js';
export { type DatasetLayout, FileDataset, type ImageDataset } from './dataset.js';
export { type GridOptions, makeGrid, paste } from './grid.js';
export { type DecodeOptions, decodeImage, encodePng, type RawImage } from './image.js';
export { type DatasetReport, duplicatesOf, type InspectOptions, inspectDataset, type Oddities, type Range } from './inspect.js';
export { ImageLoader, type ImageLoaderOptions, type Views } from './loader.js';
export { type DatasetOptions, findSplits, openDataset, type Split, type Splits } from './open.js';
export type { OrderOptions } from './order.js';
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
export type { ResizeOptions } from './source.js';
export { holdOut, subset } from './subset.js';
export { type SyntheticOptions, SyntheticSource, syntheticImage } from './synthetic.js';
export { buildTokenCache, type TokenCacheOptions, type Tokenize } from './token-cache.js';
export { fingerprint, type TokenIndex, type TokenPlan, tokensPerImage, variantsOf } from './token-index.js';
export { TokenSource, type TokenSourceOptions } from './token-source.js';
export { randperm } from './torch-random.js';
