export { type KmeansOptions, kmeansCodes } from './kmeans.js';
export {
  DEFAULT_VQVAE_TRAINING,
  type DeadCodeRestart,
  type KmeansStart,
  type LossTerm,
  type VqvaeTraining,
  type VqvaeTrainOptions,
  vqvaeTraining,
} from './options.js';
export { VqvaeTask, vqvaeNoDecay } from './task.js';
export { CodebookUsage, type HitStats, hitStats } from './usage.js';
