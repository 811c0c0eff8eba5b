export type { SampleOptions, VarTrainOptions } from './options.js';
export { Progressive, type ProgressiveOptions, type ProgressiveState } from './progressive.js';
export { VarTask, type VqvaeInput, varNoDecay } from './task.js';
