import type { Graph, Tensor } from '../../engine/index.js';
import type { VqvaeConfig } from './config.js';
import type { MultiScaleQuantizer } from './quantizer.js';

export interface EntropyOptions {
  /** Softness of the assignment: softmax(-distance^2 / temperature), or of the cosine over it; above 0. */
  readonly temperature: number;
}

/** Keeps the logarithm of vanishing probabilities finite. */
const SMALLEST = 1e-20;

/**
 * Mean entropy of the soft assignments of vectors z [N, C] to codes, minus the entropy of their mean [1]: small where every vector is
 * sure of its code and all codes are used alike (Yu et al., Language Model Beats Diffusion, section 3.1). Holds N x V probabilities.
 */
export function entropyTerm(
  g: Graph,
  quantizer: MultiScaleQuantizer,
  { usingZnorm, vocabSize: v }: VqvaeConfig,
  z: Tensor,
  { temperature }: EntropyOptions,
): Tensor {
  const { ops } = g;
  const [n, c] = z.shape as [number, number];
  return g.scope(() => {
    const codes = usingZnorm ? ops.l2Normalize(quantizer.embedding.weight) : quantizer.embedding.weight;
    const rows = usingZnorm ? ops.l2Normalize(z) : z;
    const dots = ops.matmul(ops.reshape(rows, { shape: [1, n, c] }), ops.reshape(codes, { shape: [1, v, c] }), {
      transB: true,
      alpha: usingZnorm ? 1 : 2,
    });
    const scores = usingZnorm
      ? dots
      : ops.binary(dots, ops.reshape(ops.reduce(ops.unary(codes, { fn: 'square' }), { fn: 'sum', axis: 1 }), { shape: [1, 1, v] }), {
          fn: 'sub',
        });
    const p = ops.softmax(scores, { scale: 1 / temperature });
    const perVector = entropyOf(g, p);
    const ofMean = entropyOf(g, ops.reshape(ops.reduce(p, { fn: 'mean', axis: 1 }), { shape: [1, 1, v] }));
    return ops.binary(perVector, ofMean, { fn: 'sub' });
  });
}

/** Mean over rows of -sum(p log p); p [1, n, V] gives [1]. */
function entropyOf({ ops }: Graph, p: Tensor): Tensor {
  const n = p.shape[1]!;
  const terms = ops.binary(p, ops.unary(ops.affine(p, { lo: SMALLEST }), { fn: 'log' }), { fn: 'mul' });
  const rows = ops.reduce(terms, { fn: 'sum', axis: 2 });
  return ops.reshape(ops.affine(ops.reduce(rows, { fn: 'sum', axis: 1 }), { mul: -1 / n }), { shape: [1] });
}
