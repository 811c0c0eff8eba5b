import { EventEmitter } from 'node:events';
import type TypedEmitter from 'typed-emitter';
import type { MemoryInfo } from './info.js';

/**
 * Events of an engine. `error` is emitted for late errors, and only where somebody listens; `memory` after flush() and throttle();
 * `progress` and `scale` by the models.
 */
export type EngineEvents = {
  progress: (event: { readonly what: string; readonly done: number; readonly total: number }) => void;
  scale: (event: { readonly scale: number; readonly of: number; readonly patchNum: number }) => void;
  warning: (event: { readonly message: string }) => void;
  error: (error: Error) => void;
  memory: (event: MemoryInfo) => void;
};

export const EngineEmitter = EventEmitter as unknown as new () => TypedEmitter.default<EngineEvents>;
