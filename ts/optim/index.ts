export { Adam, type AdamOptions, AdamW, type AdamWOptions } from './adamw.js';
export { EMA } from './ema.js';
export { filterParams, noDecayRule, type ParamGroup, VAR_NOWD_KEYS } from './filter-params.js';
export { GradScaler, type GradScalerOptions } from './grad-scaler.js';
export { type GradStats, gradStats, Optimizer, type RangeStep, type StepCall } from './optimizer.js';
export {
  annealGroups,
  lrWdAt,
  type ScheduledGroup,
  type ScheduleOptions,
  type SchedulePoint,
  type ScheduleRange,
} from './schedule.js';
export { SGD, type SgdOptions } from './sgd.js';
export { OptimizerStep, type OptimizerStepOptions, type StepReport } from './step.js';
