import type { Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import type { QuantizeTrain } from '../../models/vqvae/index.js';
import type { VqvaeTraining } from './options.js';

/** Signal peak of images in [-1, 1], squared. */
const PEAK2 = 4;

/** Terms of the loss, each [1]: what they are named, and what is minimised. */
export interface Losses {
  readonly loss: Tensor;
  readonly parts: ReadonlyMap<string, Tensor>;
}

/** rec, vq, entropy (where it counts), further terms, and their weighted sum; rec is not clamped. */
export function vqvaeLoss(g: Graph, settings: VqvaeTraining, x: Tensor, rec: Tensor, q: QuantizeTrain): Losses {
  const { ops } = g;
  const parts = new Map<string, Tensor>();
  let loss: Tensor | undefined;
  const add = (part: Tensor, weight: number): void => {
    const term = weight === 1 ? part : ops.affine(part, { mul: weight });
    loss = loss ? ops.binary(loss, term, { fn: 'add' }) : term;
  };
  const recon = reconstruction(ops, settings.recon, x, rec);
  parts.set('rec', recon);
  add(recon, 1);
  parts.set('vq', q.vqLoss);
  if (settings.vqWeight > 0) add(q.vqLoss, settings.vqWeight);
  if (q.entropy) {
    parts.set('entropy', q.entropy);
    add(q.entropy, settings.entropyWeight);
  }
  for (const { name, weight, apply } of settings.extraLosses) {
    const part = apply(g, x, rec);
    parts.set(name, part);
    add(part, weight);
  }
  return { loss: loss!, parts };
}

function reconstruction(ops: Ops<Tensor>, { l1, l2 }: VqvaeTraining['recon'], x: Tensor, rec: Tensor): Tensor {
  const term = (kind: 'l1' | 'l2', weight: number): Tensor => {
    const error = ops.pairLoss(rec, x, { kind });
    return weight === 1 ? error : ops.affine(error, { mul: weight });
  };
  if (l1 === 0) return term('l2', l2);
  return l2 === 0 ? term('l1', l1) : ops.binary(term('l1', l1), term('l2', l2), { fn: 'add' });
}

/** Mean squared error per image [B] of reconstructions, clamped to [-1, 1]. */
export function imageErrors(g: Graph, x: Tensor, rec: Tensor): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const difference = ops.binary(ops.affine(rec, { lo: -1, hi: 1 }), x, { fn: 'sub' });
    const square = ops.unary(difference, { fn: 'square' });
    return ops.reduce(ops.reshape(square, { shape: [x.shape[0]!, x.size / x.shape[0]!] }), { fn: 'mean', axis: 1 });
  });
}

/** Mean over images of their peak signal-to-noise ratio in dB; `errors`: mean squared errors of images in [-1, 1]. */
export function psnrOf(errors: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < errors.length; i++) sum += 10 * Math.log10(PEAK2 / Math.max(errors[i]!, 1e-12));
  return sum / errors.length;
}
