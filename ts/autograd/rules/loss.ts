// Losses: the gradient with respect to the target of cross_entropy does not exist, that of pair_loss with respect to y is the negative.
import type { Tensor } from '../../engine/index.js';
import type { Backward, Rule } from '../rule.js';

export const crossEntropy: Rule = {
  saves: () => ['logits', 'target'],
  backward: (b) =>
    b.give('logits', () => b.ops.crossEntropyGrad(b.saved('logits'), b.saved('target'), b.dy, { labelSmooth: b.attr('labelSmooth') })),
};

const slope = (b: Backward): Tensor => b.ops.pairLossGrad(b.saved('x'), b.saved('y'), b.dy, { kind: b.attr<'l1' | 'l2'>('kind') });

export const pairLoss: Rule = {
  saves: () => ['x', 'y'],
  backward: (b) => {
    b.give('x', () => slope(b));
    b.give('y', () => b.ops.affine(slope(b), { mul: -1 }));
  },
};
