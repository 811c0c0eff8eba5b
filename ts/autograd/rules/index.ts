import type { Rule } from '../rule.js';
import { conv2d } from './conv.js';
import { affine, binary, broadcastTo, cast, reduce, sumTo, unary } from './elementwise.js';
import { concat, embedding, interpolate, permute, reshape, slice } from './layout.js';
import { linear, matmul } from './linear.js';
import { crossEntropy, pairLoss } from './loss.js';
import { attention, gateResidual, groupNorm, l2Normalize, layerNorm, softmax } from './norm.js';

/** Rules by op. */
export const RULES: Readonly<Record<string, Rule>> = {
  affine,
  attention,
  binary,
  broadcast_to: broadcastTo,
  cast,
  concat,
  conv2d,
  cross_entropy: crossEntropy,
  embedding,
  gate_residual: gateResidual,
  group_norm: groupNorm,
  interpolate,
  l2_normalize: l2Normalize,
  layer_norm: layerNorm,
  linear,
  matmul,
  pair_loss: pairLoss,
  permute,
  reduce,
  reshape,
  slice,
  softmax,
  sum_to: sumTo,
  unary,
};

/** Ops that pack weights; what they pack has the gradient of the weight. */
export const PACKS: ReadonlySet<string> = new Set(['linear_pack', 'conv_pack']);
