// Convolution. The gradient of the input is a plain convolution of the dilated gradient with the turned, transposed kernel.
import type { Tensor } from '../../engine/index.js';
import type { Backward, Rule } from '../rule.js';
import { biasGradient, needPack, productGradient } from './linear.js';

type Algo = 'direct' | 'winograd2' | 'winograd4';

export const conv2d: Rule = {
  saves: (c) => {
    needPack(c);
    return [...(c.needs('w') ? ['x'] : []), ...(c.needs('x') ? ['w'] : [])];
  },
  backward: (b) => {
    const { ops } = b;
    const dy = productGradient(b);
    const [alpha, beta] = [b.attr('alpha'), b.attr('beta')];
    const dw = b.into('w');
    if (dw)
      ops.conv2dGradW(b.saved('x'), dy, dw, {
        dbias: b.into('bias'),
        stride: b.attr('stride'),
        padBefore: b.attr('padBefore'),
        padAfter: b.attr('padAfter'),
        upsample: b.attr('upsample'),
        alpha,
      });
    else b.give('bias', () => ops.affine(biasGradient({ ops, dy: b.dy, shape: b.shape('bias') }), { mul: alpha }));
    b.give('x', () => inputGradient(b, dy, alpha));
    if (dy !== b.dy) dy.dispose();
    if (beta === 1) b.pass('residual');
    else b.give('residual', () => ops.affine(b.dy, { mul: beta }));
  },
};

function inputGradient(b: Backward, dy: Tensor, alpha: number): Tensor {
  const { ops } = b;
  const [kernel, stride, upsample, before, after] = ['kernel', 'stride', 'upsample', 'padBefore', 'padAfter'].map((name) =>
    b.attr(name),
  ) as [number, number, number, number, number];
  const [, h, w, channels] = b.shape('x') as [number, number, number, number];
  const spread = stride === 1 ? dy : ops.dilate(dy, { stride });
  // Rows and columns that the last stride did not reach have to come back as well.
  const need = (size: number, axis: number) => size * upsample - spread.shape[axis]! + before;
  const padAfter = Math.max(need(h, 1), need(w, 2));
  const same = kernel === 3 && stride === 1 && before === 1 && after === 1;
  const algo = same ? b.attr<Algo>('algo') : 'direct';
  const weight = ops.convPack(b.saved('w'), { algo, transpose: true, dtype: b.dtype('w') });
  // Enlargements are undone in f32.
  const dtype = upsample === 1 ? b.dtype('x') : 'f32';
  let dx = ops.conv2d(spread, weight, { o: channels, kernel, padBefore: kernel - 1 - before, padAfter, algo, alpha, dtype });
  for (const [axis, size] of [
    [1, h * upsample],
    [2, w * upsample],
  ] as const)
    if (dx.shape[axis] !== size) dx = ops.slice(dx, { axis, start: 0, size });
  return upsample === 1 ? dx : ops.interpolateGrad(dx, { mode: 'nearest', h, w });
}
