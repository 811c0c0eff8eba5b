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

/**
 * Storage of packed weights on the engine; arithmetic accumulates in f32 whatever is chosen. int8: the weights of linear layers with a
 * scale per output channel, on the CPU; convolutions stay f32.
 */
export type WeightDType = 'f32' | 'f16' | 'bf16' | 'int8';

/** Dtype of the activations between layers. Residual stream of a transformer, logits, quantizer and images stay f32. */
export type Precision = 'f32' | 'f16' | 'bf16';

/** How a model is held on the engine. */
export interface Numerics {
  /** Default: the precision. */
  readonly dtype?: WeightDType | undefined;
  /** Default: f32. */
  readonly precision?: Precision | undefined;
  /** Weights are packed anew for every product and released after it: they are used about once, as in a training step. */
  readonly packOnUse?: boolean | undefined;
}

/** Hands the modules their tensors while a model is loaded. */
export class WeightReader {
  constructor(
    readonly engine: Engine,
    private readonly source: WeightSource,
    readonly numerics: Numerics = {},
    private readonly signal?: AbortSignal,
  ) {}

  /** The same weights for modules that compute in f32 only. */
  inF32(): WeightReader {
    return new WeightReader(this.engine, this.source, {}, this.signal);
  }

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
