import { checkEnum } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { Engine } from '../engine/index.js';
import type { Numerics } from '../nn/index.js';

/** How a model is held on the engine; sums, norms, softmax and distances are f32 in every case. */
export interface NumericsOptions {
  /**
   * Dtype of activations and KV cache: f32 (default), f16 or bf16. The transformer's residual stream, logits, quantizer and images stay
   * f32. On the CPU 16 bits save memory, not time.
   */
  precision?: Numerics['precision'];
  /** Storage of packed weights; default: the precision. int8: the linear layers of a VAR, on the CPU. */
  dtype?: Numerics['dtype'];
}

const DTYPES = ['f32', 'f16', 'bf16'] as const;
const WEIGHTS = [...DTYPES, 'int8'] as const;

export const NUMERICS_OPTIONS = ['precision', 'dtype'] as const;

/** Throws ArgumentError for what is no precision, and for int8 where the model has no linear layers or the device no such products. */
export function checkNumerics({ precision, dtype }: NumericsOptions, engine: Engine, family: 'VAR' | 'VQVAE'): Numerics {
  if (precision !== undefined) checkEnum('precision', precision, DTYPES);
  if (dtype !== undefined) checkEnum('dtype', dtype, family === 'VAR' ? WEIGHTS : DTYPES);
  if (dtype === 'int8' && engine.device === 'cuda') throw new ArgumentError('dtype: int8 was given, accepted on cuda is f32, f16 or bf16');
  return { precision, dtype };
}
