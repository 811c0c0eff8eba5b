export { DivergedError } from './errors.js';
export type * from './events.js';
export { train } from './loop.js';
export { checkLoopConfig, LOOP_DEFAULTS, LogPlan, type LoopConfig } from './loop-config.js';
export { type LoopOptimizer, ModelOptimizer, type OptimizerState } from './optimizer.js';
export type { TrainOptions, TrainResult } from './options.js';
export { decodeState, encodeState, SavedTensor, savedWeights } from './saved.js';
export type { StepInput, StepOutputs, StepProgram } from './step-program.js';
export type { Metrics, StateValue, StepInfo, StepResult, Task, TaskImage } from './task.js';
