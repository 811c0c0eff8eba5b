import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { DType } from '../../../ts/core/dtype.js';
import { infer, resolveAttrs } from '../../../ts/core/shapes.js';
import type { OpDecl, TensorRef } from '../../../ts/core/types.js';
import { OPS } from '../../../ts/gen/ops.js';

const test = suite('shapes');

const t = (shape: number[], dtype: DType = 'f32'): TensorRef => ({ slot: 0, generation: 1, dtype, shape });
const out = (op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object = {}) => infer(op, inputs, resolveAttrs(op, attrs))[0];
const shape = (op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object = {}) => out(op, inputs, attrs)?.shape;

function throws(name: string, pattern: RegExp, fn: () => unknown): void {
  try {
    fn();
  } catch (e) {
    assert.is((e as Error).name, name, String(e));
    assert.match((e as Error).message, pattern);
    return;
  }
  assert.unreachable(`expected ${name} ${pattern}`);
}

test('letters bind and must agree; the message shows both shapes', () => {
  assert.equal(shape(OPS.embedding, [t([11, 4]), t([2, 3], 'i32')]), [2, 3, 4]);
  throws('ShapeError', /^\[linear\] x is \[2,9,64\], w is \[3,96,16\]: K is 64 in x and 96 in w$/, () =>
    out(OPS.linear, [t([2, 9, 64]), t([3, 96, 16]), undefined, undefined, undefined], { n: 40 }),
  );
});

test('leading dims must agree wherever they occur', () => {
  throws('ShapeError', /\[accumulate\] y is \[2,3\], x is \[3,2\]: leading dims differ/, () => out(OPS.accumulate, [t([2, 3]), t([3, 2])]));
});

test('expressions are checked after every letter is bound', () => {
  assert.equal(shape(OPS.cfgMix, [t([4, 9, 64]), t([2])]), [2, 9, 64]);
  throws('ShapeError', /dim 0 of logits must be 2\*B = 4/, () => out(OPS.cfgMix, [t([3, 9, 64]), t([2])]));
  throws('ShapeError', /dim 2 of qkv must be 3\*heads\*width = 384/, () =>
    out(OPS.attention, [t([1, 2, 100]), undefined, undefined, undefined, undefined], { heads: 2, width: 64 }),
  );
});

test('wrong rank', () => {
  throws('ShapeError', /\[linear\] x is \[9,64\]: x must have 3 dims/, () =>
    out(OPS.linear, [t([9, 64]), t([1, 64, 16]), undefined, undefined, undefined], { n: 16 }),
  );
  throws('ShapeError', /x must have at least 1 dims/, () => out(OPS.softmax, [t([])]));
});

test('dtypes', () => {
  throws('DTypeError', /\[binary\] b is i32, a is f32: they must agree/, () => out(OPS.binary, [t([2]), t([2], 'i32')], { fn: 'add' }));
  throws('DTypeError', /\[softmax\] x is u8: expected f32/, () => out(OPS.softmax, [t([2], 'u8')]));
  assert.is(out(OPS.cast, [t([2])], { dtype: 'bf16' })?.dtype, 'bf16');
  assert.is(out(OPS.slice, [t([2], 'u8')], { axis: 0, start: 1, size: 1 })?.dtype, 'u8');
  assert.is(out(OPS.reduce, [t([2, 3])], { fn: 'argmax' })?.dtype, 'i32');
});

test('attributes: missing, unknown, of a wrong type, out of range', () => {
  throws('ArgumentError', /\[cast\] dtype is missing/, () => out(OPS.cast, [t([2])]));
  throws('ArgumentError', /\[softmax\] unknown option scal, known are scale/, () => out(OPS.softmax, [t([2])], { scal: 2 }));
  throws('ArgumentError', /\[softmax\] scale is NaN: expected a number/, () => out(OPS.softmax, [t([2])], { scale: Number.NaN }));
  throws('ArgumentError', /\[unary\] fn is "sin": expected one of silu/, () => out(OPS.unary, [t([2])], { fn: 'sin' }));
  throws('ArgumentError', /\[slice\] start is 3: expected an integer in \[0, 2\]/, () =>
    out(OPS.slice, [t([4])], { axis: 0, start: 3, size: 2 }),
  );
  throws('ArgumentError', /\[fill\] shape is \[0\]/, () => out(OPS.fill, [], { shape: [0] }));
});

test('a missing input is named', () => {
  throws('ArgumentError', /\[softmax\] x is missing/, () => out(OPS.softmax, [undefined]));
});

test('rules of layout ops', () => {
  assert.equal(shape(OPS.binary, [t([2, 1, 5]), t([4, 5])], { fn: 'sub' }), [2, 4, 5]);
  throws('ShapeError', /dim -2 does not broadcast/, () => out(OPS.binary, [t([2, 3, 5]), t([4, 5])], { fn: 'sub' }));
  assert.equal(shape(OPS.permute, [t([2, 3, 5])], { order: [2, 0, 1] }), [5, 2, 3]);
  throws('ShapeError', /no permutation/, () => out(OPS.permute, [t([2, 3])], { order: [1, 1] }));
  assert.equal(shape(OPS.concat, [t([2, 3, 4]), t([2, 5, 4])], { axis: 1 }), [2, 8, 4]);
  throws('ShapeError', /differ outside axis 1/, () => out(OPS.concat, [t([2, 3, 4]), t([2, 5, 5])], { axis: 1 }));
  assert.equal(shape(OPS.reduce, [t([3, 5, 7])], { fn: 'sum', axis: 1 }), [3, 7]);
  throws('ArgumentError', /axis is 3/, () => out(OPS.reduce, [t([3, 5, 7])], { fn: 'sum', axis: 3 }));
  assert.equal(shape(OPS.reshape, [t([4, 6])], { shape: [2, 12] }), [2, 12]);
  throws('ShapeError', /cannot be reshaped to \[5\]/, () => out(OPS.reshape, [t([4, 6])], { shape: [5] }));
  throws('ArgumentError', /start is 7/, () => out(OPS.writeSlice, [t([3, 8]), t([3, 2])], { axis: 1, start: 7 }));
});

test('linear: panels, gate rows', () => {
  const run = (w: number[], gate: number[] | undefined, attrs: object) =>
    shape(OPS.linear, [t([2, 9, 8]), t(w), undefined, gate && t(gate), undefined], attrs);
  assert.equal(run([3, 8, 16], undefined, { n: 40 }), [2, 9, 40]);
  throws('ShapeError', /40 columns need 3 panels/, () => run([2, 8, 16], undefined, { n: 40 }));
  assert.equal(run([1, 8, 16], [1, 6, 16], { n: 16, gateAt: 5 }), [2, 9, 16]);
  throws('ShapeError', /gate must have 2 rows or 1/, () => run([1, 8, 16], [3, 6, 16], { n: 16 }));
  throws('ArgumentError', /gateAt is 6/, () => run([1, 8, 16], [2, 6, 16], { n: 16, gateAt: 6 }));
});

test('conv2d: packed shape, algorithm, residual', () => {
  const run = (w: number[], residual: number[] | undefined, attrs: object) =>
    shape(OPS.conv2d, [t([1, 10, 8, 12]), t(w), undefined, residual && t(residual)], attrs);
  assert.equal(run([2, 108, 16], undefined, { o: 18, stride: 2, padBefore: 0, padAfter: 1 }), [1, 5, 4, 18]);
  assert.equal(run([16, 2, 12, 16], [1, 20, 16, 18], { o: 18, algo: 'winograd2', upsample: 2 }), [1, 20, 16, 18]);
  throws('ShapeError', /needs w packed as \[36,2,12,16\]/, () => run([16, 2, 12, 16], undefined, { o: 18, algo: 'winograd4' }));
  throws('ArgumentError', /winograd2 is for kernel 3, stride 1/, () =>
    run([16, 2, 12, 16], undefined, { o: 18, algo: 'winograd2', stride: 2 }),
  );
  throws('ShapeError', /the output is \[1,10,8,18\]/, () => run([2, 108, 16], [1, 10, 8, 17], { o: 18 }));
  throws('ShapeError', /the output would be \[1,-1,-3,16\]/, () =>
    run([1, 1728, 16], undefined, { o: 16, kernel: 12, padBefore: 0, padAfter: 0 }),
  );
});

test('attention: caches', () => {
  const run = (cache: [number[], number[]] | [], attrs: object, dtypes: DType[] = ['f32', 'f32']) =>
    shape(OPS.attention, [t([2, 9, 384]), undefined, undefined, cache[0] && t(cache[0], dtypes[0]), cache[1] && t(cache[1], dtypes[1])], {
      heads: 2,
      width: 64,
      ...attrs,
    });
  const c = [2, 2, 30, 64];
  assert.equal(run([c, c], { pos: 21, append: true }), [2, 9, 128]);
  throws('ShapeError', /the cache has 30 rows, pos is 22 and 9 rows are new/, () => run([c, c], { pos: 22, append: true }));
  assert.equal(run([c, c], { pos: 30 }), [2, 9, 128]);
  throws('ArgumentError', /pos is 1: expected 0/, () => run([], { pos: 1 }));
  throws('ArgumentError', /append needs/, () => run([], { append: true }));
  throws('ArgumentError', /they must agree/, () => run([c, c], {}, ['f16', 'f32']));
  throws('ShapeError', /Lmax is 30 in kCache and 31 in vCache/, () => run([c, [2, 2, 31, 64]], {}));
});

test('16-bit activations: the attribute says what the output is, inputs may differ where the declaration lets them', () => {
  const dtype = (op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object) => out(op, inputs, attrs)?.dtype;
  const linear = (x: DType, residual: DType, given: object = {}) =>
    dtype(OPS.linear, [t([2, 9, 8], x), t([1, 8, 16], 'bf16'), undefined, undefined, t([2, 9, 16], residual)], { n: 16, ...given });
  assert.is(linear('bf16', 'f32'), 'f32');
  assert.is(linear('f32', 'f16', { dtype: 'bf16' }), 'bf16');
  assert.is(dtype(OPS.layerNorm, [t([2, 3, 8]), undefined], { dtype: 'f16' }), 'f16');
  assert.is(dtype(OPS.groupNorm, [t([1, 2, 2, 8], 'f16'), t([8]), t([8])], { groups: 2 }), 'f32');
  assert.is(dtype(OPS.attention, [t([1, 2, 24], 'bf16'), undefined, undefined, undefined, undefined], { heads: 2, width: 4 }), 'bf16');
  assert.is(dtype(OPS.unaryGrad, [t([3], 'f16'), t([3], 'f16')], { fn: 'gelu' }), 'f16');
  throws('DTypeError', /dy is f32, x is f16: they must agree/, () => out(OPS.unaryGrad, [t([3], 'f16'), t([3])], { fn: 'gelu' }));
  throws('DTypeError', /\[linear\] bias is f16: expected f32/, () =>
    out(OPS.linear, [t([2, 9, 8]), t([1, 8, 16]), t([16], 'f16'), undefined, undefined], { n: 16 }),
  );
});

test('an output of floats is no integer', () => {
  const refused = (op: OpDecl, inputs: (TensorRef | undefined)[], attrs: object) =>
    throws('ArgumentError', /dtype is i32: expected f32, f16 or bf16/, () => out(op, inputs, { ...attrs, dtype: 'i32' }));
  const x = t([2, 4, 4, 16]);
  refused(OPS.linear, [t([2, 9, 8]), t([1, 8, 16]), undefined, undefined, undefined], { n: 16 });
  refused(OPS.conv2d, [x, t([1, 144, 16]), undefined, undefined], { o: 16 });
  refused(OPS.groupNorm, [x, t([16]), t([16])], { groups: 4 });
  refused(OPS.layerNorm, [t([2, 9, 8]), undefined], {});
  refused(OPS.gateResidual, [t([2, 9, 8]), t([1, 1, 8]), undefined], {});
  refused(OPS.linearPack, [t([8, 8])], {});
  refused(OPS.convPack, [t([4, 4, 3, 3])], {});
});

test('other checks', () => {
  const x = t([2, 4, 4, 12]);
  throws('ShapeError', /12 channels do not divide into 5 groups/, () => out(OPS.groupNorm, [x, t([12]), t([12])], { groups: 5 }));
  throws('ArgumentError', /shiftAt is 2/, () => out(OPS.layerNorm, [t([2, 3, 8]), t([1, 2, 8])], { shiftAt: 2 }));
  throws('ArgumentError', /either gumbel or seed/, () => out(OPS.gumbelSoftmax, [t([1, 2, 4]), undefined, undefined]));
  throws('ArgumentError', /outH is 0/, () => out(OPS.interpolate, [x], { mode: 'area', outH: 0, outW: 2 }));
  throws('ShapeError', /w must|needs a 3x3/, () => out(OPS.convPack, [t([4, 4, 1, 1])], { algo: 'winograd2' }));
  assert.equal(shape(OPS.convPack, [t([33, 5, 1, 1])]), [3, 5, 16]);
  assert.equal(shape(OPS.matmul, [t([3, 5, 64]), t([3, 70, 64])], { transB: true }), [3, 5, 70]);
  throws('ShapeError', /b must be \[B,K,N\]/, () => out(OPS.matmul, [t([3, 5, 64]), t([3, 70, 64])]));
});

test.run();
