export { Tape } from './autograd/index.js';
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
  type Split,
  SyntheticSource,
  type TokenBatch,
  type TokenCacheOptions,
  type Tokenize,
  TokenSource,
  type TokenSourceOptions,
} from './data/index.js';
export {
  type Capture,
  createEngine,
  type DeviceInfo,
  Engine,
  type EngineEvents,
  type EngineOptions,
  type EngineStats,
  type Graph,
  type MemoryInfo,
  Scope,
  Tensor,
} from './engine/index.js';
export type { Tap } from './models/tap.js';
export { VAR_PRESETS, type VarConfig, type VarPreset, type VarPresetName } from './models/var/index.js';
export { PATCH_NUMS_256, PATCH_NUMS_512, type PatchSize, type VqvaeConfig } from './models/vqvae/index.js';
export {
  type Init,
  InitSource,
  type NoDecay,
  Parameters,
  type ParametersOptions,
  type ParamRange,
  type ParamSpec,
  type WeightDType,
  type WeightInfo,
  type WeightSource,
} from './nn/index.js';
export {
  Adam,
  type AdamOptions,
  AdamW,
  type AdamWOptions,
  annealGroups,
  EMA,
  filterParams,
  GradScaler,
  type GradScalerOptions,
  lrWdAt,
  noDecayRule,
  OptimizerStep,
  type OptimizerStepOptions,
  type ParamGroup,
  type ScheduleOptions,
  type SchedulePoint,
  SGD,
  type SgdOptions,
  type StepReport,
} from './optim/index.js';
export * from './sample/index.js';
export { buildVar } from './train/build-var.js';
export { buildVqvae } from './train/build-vqvae.js';
export { type VarArgs, varArgs } from './train/config/var.js';
export { type VqvaeArgs, vqvaeArgs } from './train/config/vqvae.js';
export {
  DivergedError,
  LOOP_DEFAULTS,
  type LoopConfig,
  type LoopOptimizer,
  type Metrics,
  ModelOptimizer,
  type StateValue,
  type StepInfo,
  type StepInput,
  type StepOutputs,
  type StepProgram,
  type StepResult,
  savedWeights,
  type Task,
  type TaskImage,
  type TrainEvent,
  type TrainOptions,
  type TrainResult,
  train,
} from './train/index.js';
export { VarTask, type VarTrainOptions, type VqvaeInput } from './train/var/index.js';
export { type LossTerm, VqvaeTask, type VqvaeTrainOptions } from './train/vqvae/index.js';
export { exportWeights } from './train/weights.js';
