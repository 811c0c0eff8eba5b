export type { NativeInfo } from './addon.js';
export { createEngine, type EngineOptions } from './create.js';
export { Engine } from './engine.js';
export type { EngineEvents } from './events.js';
export type { DeviceInfo, EngineStats, MemoryInfo } from './info.js';
export { addonPath } from './loader.js';
export { type MachinePeak, measurePeak } from './peak.js';
export { Scope } from './scope.js';
export { Tensor } from './tensor.js';
