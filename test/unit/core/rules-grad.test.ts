import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DType } from '../../../ts/core/dtype.js';
import { infer, resolveAttrs } from '../../../ts/core/shapes.js';
import type { OpDecl, TensorRef } from '../../../ts/core/types.js';
import { OPS } from '../../../ts/gen/ops.js';

const test = suite('rules of elementwise gradients and optimizers');

const t = (shape: number[], dtype: DType = 'f32'): TensorRef => ({ slot: 0, generation: 1, dtype, shape });
const infers = (op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object = {}) => infer(op, inputs, resolveAttrs(op, attrs))[0];
const refuses = (pattern: RegExp, op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object = {}): void =>
  assert.throws(() => infers(op, inputs, attrs), pattern);

test('sum_to and broadcast_to take what broadcasts', () => {
  assert.equal(infers(OPS.sumTo, [t([2, 3, 33])], { shape: [3, 1] })?.shape, [3, 1]);
  assert.equal(infers(OPS.broadcastTo, [t([3, 1])], { shape: [2, 3, 33] })?.shape, [2, 3, 33]);
  refuses(/\[sum_to\] x is \[2,3\]: \[2\] does not broadcast to it/, OPS.sumTo, [t([2, 3])], { shape: [2] });
  refuses(/\[sum_to\].*does not broadcast/, OPS.sumTo, [t([3])], { shape: [1, 3] });
  refuses(/\[broadcast_to\] x is \[2,3\]: does not broadcast to \[3\]/, OPS.broadcastTo, [t([2, 3])], { shape: [3] });
});

test('gates have one row per image or one for all, and the row that is asked for', () => {
  assert.equal(infers(OPS.gateResidual, [t([2, 5, 8]), t([1, 6, 8]), undefined], { gateAt: 5 })?.shape, [2, 5, 8]);
  refuses(/gate must have 3 rows or 1/, OPS.gateResidual, [t([3, 5, 8]), t([2, 6, 8]), undefined]);
  refuses(/gateAt is 6/, OPS.gateResidualGrad, [t([2, 5, 8]), t([2, 5, 8]), t([2, 6, 8]), undefined], { gateAt: 6 });
});

test('sizes of outputs are positive', () => {
  refuses(/\[bincount\] n is 0/, OPS.bincount, [t([4], 'i32')], { n: 0 });
  refuses(/\[interpolate_grad\] h is 0/, OPS.interpolateGrad, [t([1, 4, 4, 3])], { mode: 'area', h: 0, w: 2 });
  refuses(/at least two offsets/, OPS.gradStats, [t([9]), t([1], 'i32')]);
});

test('kernels of convolutions are square and at most 64 wide', () => {
  const grads = (h: number, k: number, o: number) => [t([1, h, h, 2]), t([1, o, o, 3]), t([3, 2, k, k]), undefined];
  assert.is(infers(OPS.conv2dGradW, grads(64, 64, 1), { padBefore: 0, padAfter: 0 }), undefined);
  refuses(/at most 64 wide/, OPS.conv2dGradW, grads(65, 65, 1), { padBefore: 0, padAfter: 0 });
});

const adam = [t([9]), t([9]), t([9]), t([9]), undefined];

test('adamw: step, betas, clipping', () => {
  assert.is(infers(OPS.adamw, [...adam, t([2])], { lr: 0.1, step: 1, maxNorm: 2 }), undefined);
  refuses(/\[adamw\] step is 0/, OPS.adamw, [...adam, undefined], { lr: 0.1, step: 0 });
  refuses(/\[adamw\] lr is -0.1/, OPS.adamw, [...adam, undefined], { lr: -0.1, step: 1 });
  refuses(/\[adamw\] beta2 is 1:/, OPS.adamw, [...adam, undefined], { lr: 0.1, step: 1, beta2: 1 });
  refuses(/\[adamw\] beta2 is 0\.99999999:/, OPS.adamw, [...adam, undefined], { lr: 0.1, step: 1, beta2: 0.99999999 });
  refuses(/\[adamw\] maxNorm needs stats/, OPS.adamw, [...adam, undefined], { lr: 0.1, step: 1, maxNorm: 2 });
});

test('adamw8 has a scale per 256 elements', () => {
  const moments = [t([300]), t([300]), t([300], 'u8'), t([300], 'u8')];
  assert.is(infers(OPS.adamw8, [...moments, t([2]), t([2]), undefined, undefined], { lr: 0.1, step: 1 }), undefined);
  refuses(/mScale must be ceil\(n\/256\) = 2/, OPS.adamw8, [...moments, t([1]), t([2]), undefined, undefined], { lr: 0.1, step: 1 });
});

test('sgd: momentum needs velocity, clipping needs stats', () => {
  assert.is(infers(OPS.sgd, [t([9]), t([9]), t([9]), undefined, undefined], { lr: 0.1, momentum: 0.9 }), undefined);
  refuses(/\[sgd\] momentum needs velocity/, OPS.sgd, [t([9]), t([9]), undefined, undefined, undefined], { lr: 0.1, momentum: 0.9 });
  refuses(/\[sgd\] maxNorm needs stats/, OPS.sgd, [t([9]), t([9]), undefined, undefined, undefined], { lr: 0.1, maxNorm: 1 });
});

test.run();
