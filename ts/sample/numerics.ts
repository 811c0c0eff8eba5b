import { checkEnum } from '../core/check.js';
import type { Numerics } from '../nn/index.js';

/** How a model is held on the engine; sums, norms, softmax and distances are f32 in every case. */
export interface NumericsOptions {
  /**
   * Dtype of activations and KV cache: f32 (default), f16 or bf16. The transformer's residual stream, logits, quantizer and images stay
   * f32. On the CPU 16 bits save memory, not time.
   */
  precision?: Numerics['precision'];
  /** Storage of packed weights; default: the precision. */
  dtype?: Numerics['dtype'];
}

const DTYPES = ['f32', 'f16', 'bf16'] as const;

export const NUMERICS_OPTIONS = ['precision', 'dtype'] as const;

/** Throws ArgumentError for what is no precision. */
export function checkNumerics({ precision, dtype }: NumericsOptions): Numerics {
  if (precision !== undefined) checkEnum('precision', precision, DTYPES);
  if (dtype !== undefined) checkEnum('dtype', dtype, DTYPES);
  return { precision, dtype };
}
