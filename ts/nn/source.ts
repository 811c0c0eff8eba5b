import { throwIfAborted } from '../core/check.js';
import type { DType } from '../core/dtype.js';
import type { Engine, Tensor } from '../engine/index.js';

/** Shape and stored dtype of one entry of a state dict. */
export interface WeightInfo {
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Where a module takes its weights from: a checkpoint, a union of checkpoints, or seeded random numbers. */
export interface WeightSource {
  /** File name or another description; appears in error messages. */
  readonly path: string;
  /** What a file says beside its tensors. */
  readonly metadata?: Readonly<Record<string, string>>;
  keys(): Iterable<string>;
  has(key: string): boolean;
  info(key: string): WeightInfo;
  /** A tensor that the caller disposes; without `dtype` it keeps the stored one. */
  load(engine: Engine, key: string, options?: { dtype?: DType }): Tensor | Promise<Tensor>;
}

/** Storage of linear weights on the engine; arithmetic accumulates in f32 whatever is chosen. */
export type WeightDType = 'f32' | 'f16' | 'bf16';

/** Hands the modules their tensors while a model is loaded. */
export class WeightReader {
  constructor(
    readonly engine: Engine,
    private readonly source: WeightSource,
    /** Storage of linear weights. */
    readonly dtype: WeightDType = 'f32',
    private readonly signal?: AbortSignal,
  ) {}

  has(key: string): boolean {
    return this.source.has(key);
  }

  /** The stored tensor; convolution and linear packs read narrow dtypes directly. */
  async take(key: string): Promise<Tensor> {
    await this.pause();
    return this.source.load(this.engine, key);
  }

  async takeF32(key: string): Promise<Tensor> {
    await this.pause();
    return this.source.load(this.engine, key, { dtype: 'f32' });
  }

  private async pause(): Promise<void> {
    throwIfAborted(this.signal);
    await this.engine.throttle();
  }
}
