export {
  type ByteSource,
  type Checkpoint,
  type OpenOptions,
  OrderedDict,
  openCheckpoint,
  PyFloat,
  PyTuple,
  type TensorInfo,
  type TensorSource,
  type Writable,
  writePth,
  writeSafetensors,
} from './checkpoint/index.js';
export type { DType } from './core/dtype.js';
export * from './core/errors.js';
export {
  type Batch,
  type BatchSource,
  buildTokenCache,
  type DatasetOptions,
  type DatasetReport,
  type DecodeOptions as DecodeImageOptions,
  decodeImage,
  encodePng,
  findSplits,
  fingerprint,
  type GridOptions,
  holdOut,
  type ImageBatch,
  type ImageDataset,
  ImageLoader,
  type ImageLoaderOptions,
  type InspectOptions,
  inspectDataset,
  type LoadImagesOptions,
  loadImages,
  makeGrid,
  openDataset,
  type RawImage,
  SyntheticSource,
  type TokenBatch,
  type TokenCacheOptions,
  type Tokenize,
  TokenSource,
  type TokenSourceOptions,
} from './data/index.js';
export {
  createEngine,
  type DeviceInfo,
  Engine,
  type EngineEvents,
  type EngineOptions,
  type EngineStats,
  type MemoryInfo,
  Scope,
  Tensor,
} from './engine/index.js';
export type { Tap } from './models/tap.js';
export { VAR_PRESETS, type VarConfig, type VarPreset, type VarPresetName } from './models/var/index.js';
export { PATCH_NUMS_256, PATCH_NUMS_512, type PatchSize, type VqvaeConfig } from './models/vqvae/index.js';
export type { WeightDType, WeightInfo, WeightSource } from './nn/index.js';
export * from './sample/index.js';
