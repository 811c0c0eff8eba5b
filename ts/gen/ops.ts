// Written by scripts/gen-ops.mjs from ops.json. Do not edit.
import type { DType } from '../core/dtype.js';
import * as rules from '../core/rules.js';
import type { OpDecl, Sink, TensorRef } from '../core/types.js';

/** Declarations by method name. */
export const OPS = {
  fill: {
    name: 'fill',
    id: 64,
    inputs: [],
    attrs: [
      { name: 'shape', type: 'dims' },
      { name: 'value', type: 'f32', default: 0 },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: rules.attrShape, dtype: '@dtype' },
    ],
    words: 9,
  },
  cast: {
    name: 'cast',
    id: 65,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'dtype', type: 'dtype' },
    ],
    outputs: [
      { name: 'y', shape: ['...'], dtype: '@dtype' },
    ],
    words: 1,
  },
  reshape: {
    name: 'reshape',
    id: 66,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'shape', type: 'dims' },
    ],
    outputs: [
      { name: 'y', shape: rules.reshape, dtype: '=x' },
    ],
    words: 7,
  },
  unary: {
    name: 'unary',
    id: 67,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'fn', type: 'enum', values: ['silu', 'gelu', 'exp', 'log', 'sqrt', 'rsqrt', 'tanh', 'sigmoid', 'abs', 'neg', 'square', 'recip'] },
    ],
    outputs: [
      { name: 'y', shape: ['...'], dtype: '=x' },
    ],
    words: 1,
  },
  binary: {
    name: 'binary',
    id: 68,
    inputs: [
      { name: 'a', shape: ['*'], dtypes: ['f32', 'f16', 'bf16', 'i32'], optional: false, mut: false },
      { name: 'b', shape: ['*'], dtypes: '=a', optional: false, mut: false },
    ],
    attrs: [
      { name: 'fn', type: 'enum', values: ['add', 'sub', 'mul', 'div', 'max', 'min', 'lt', 'le'] },
    ],
    outputs: [
      { name: 'y', shape: rules.broadcast, dtype: '=a' },
    ],
    words: 1,
  },
  affine: {
    name: 'affine',
    id: 69,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'mul', type: 'f32', default: 1 },
      { name: 'add', type: 'f32', default: 0 },
      { name: 'lo', type: 'f32', default: Number.NEGATIVE_INFINITY },
      { name: 'hi', type: 'f32', default: Number.POSITIVE_INFINITY },
    ],
    outputs: [
      { name: 'y', shape: ['...'], dtype: '=x' },
    ],
    words: 4,
  },
  accumulate: {
    name: 'accumulate',
    id: 70,
    inputs: [
      { name: 'y', shape: ['...'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: true },
      { name: 'x', shape: ['...'], dtypes: '=y', optional: false, mut: false },
    ],
    attrs: [
      { name: 'alpha', type: 'f32', default: 1 },
      { name: 'beta', type: 'f32', default: 1 },
    ],
    outputs: [],
    words: 2,
  },
  reduce: {
    name: 'reduce',
    id: 71,
    inputs: [
      { name: 'x', shape: ['*'], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'fn', type: 'enum', values: ['sum', 'mean', 'max', 'min', 'argmax'] },
      { name: 'axis', type: 'i32', default: -1 },
    ],
    outputs: [
      { name: 'y', shape: rules.reduce, dtype: rules.reduceDtype },
    ],
    words: 2,
  },
  softmax: {
    name: 'softmax',
    id: 72,
    inputs: [
      { name: 'x', shape: ['...', { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'scale', type: 'f32', default: 1 },
    ],
    outputs: [
      { name: 'y', shape: ['...', { letter: 'V' }], dtype: 'f32' },
    ],
    words: 1,
  },
  l2Normalize: {
    name: 'l2_normalize',
    id: 73,
    inputs: [
      { name: 'x', shape: ['...', { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'eps', type: 'f32', default: 1e-12 },
    ],
    outputs: [
      { name: 'y', shape: ['...', { letter: 'C' }], dtype: 'f32' },
    ],
    words: 1,
  },
  permute: {
    name: 'permute',
    id: 74,
    inputs: [
      { name: 'x', shape: ['*'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'order', type: 'dims' },
    ],
    outputs: [
      { name: 'y', shape: rules.permute, dtype: '=x' },
    ],
    words: 7,
  },
  slice: {
    name: 'slice',
    id: 75,
    inputs: [
      { name: 'x', shape: ['*'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'axis', type: 'i32' },
      { name: 'start', type: 'i32' },
      { name: 'size', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: rules.slice, dtype: '=x' },
    ],
    words: 3,
  },
  concat: {
    name: 'concat',
    id: 76,
    inputs: [
      { name: 'a', shape: ['*'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: false },
      { name: 'b', shape: ['*'], dtypes: '=a', optional: false, mut: false },
    ],
    attrs: [
      { name: 'axis', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: rules.concat, dtype: '=a' },
    ],
    words: 1,
  },
  writeSlice: {
    name: 'write_slice',
    id: 77,
    inputs: [
      { name: 'dst', shape: ['*'], dtypes: ['f32', 'f16', 'bf16', 'i32', 'u8'], optional: false, mut: true },
      { name: 'src', shape: ['*'], dtypes: '=dst', optional: false, mut: false },
    ],
    attrs: [
      { name: 'axis', type: 'i32' },
      { name: 'start', type: 'i32' },
    ],
    outputs: [],
    check: rules.writeSlice,
    words: 2,
  },
  embedding: {
    name: 'embedding',
    id: 78,
    inputs: [
      { name: 'table', shape: [{ letter: 'V' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'idx', shape: ['...'], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'y', shape: ['...', { letter: 'C' }], dtype: 'f32' },
    ],
    words: 0,
  },
  linearPack: {
    name: 'linear_pack',
    id: 79,
    inputs: [
      { name: 'w', shape: [{ letter: 'N' }, { letter: 'K' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'dtype', type: 'dtype', default: 'f32' },
      { name: 'transpose', type: 'bool', default: false },
    ],
    outputs: [
      { name: 'packed', shape: rules.linearPack, dtype: '@dtype' },
    ],
    words: 2,
  },
  linear: {
    name: 'linear',
    id: 80,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'K' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'w', shape: [{ letter: 'P' }, { letter: 'Kw' }, { text: '16', value: () => 16 }], dtypes: ['f32', 'f16', 'bf16', 'u8'], optional: false, mut: false },
      { name: 'bias', shape: [{ text: 'a.n', value: (_d, a) => a.n! }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'gate', shape: [{ letter: 'Bg' }, { letter: 'G' }, { text: 'a.n', value: (_d, a) => a.n! }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'residual', shape: [{ letter: 'B' }, { letter: 'l' }, { text: 'a.n', value: (_d, a) => a.n! }], dtypes: ['f32', 'f16', 'bf16'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'n', type: 'i32' },
      { name: 'act', type: 'enum', values: ['none', 'gelu', 'silu'], default: 'none' },
      { name: 'gateAt', type: 'i32', default: 0 },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { text: 'a.n', value: (_d, a) => a.n! }], dtype: '@dtype' },
    ],
    check: rules.linear,
    words: 4,
  },
  matmul: {
    name: 'matmul',
    id: 81,
    inputs: [
      { name: 'a', shape: [{ letter: 'B' }, { letter: 'M' }, { letter: 'K' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'b', shape: [{ letter: 'B' }, '*'], dtypes: '=a', optional: false, mut: false },
    ],
    attrs: [
      { name: 'transB', type: 'bool', default: false },
      { name: 'alpha', type: 'f32', default: 1 },
    ],
    outputs: [
      { name: 'y', shape: rules.matmul, dtype: '=a' },
    ],
    words: 2,
  },
  convPack: {
    name: 'conv_pack',
    id: 82,
    inputs: [
      { name: 'w', shape: [{ letter: 'O' }, { letter: 'I' }, { letter: 'kh' }, { letter: 'kw' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'algo', type: 'enum', values: ['direct', 'winograd2', 'winograd4'], default: 'direct' },
      { name: 'dtype', type: 'dtype', default: 'f32' },
      { name: 'transpose', type: 'bool', default: false },
    ],
    outputs: [
      { name: 'packed', shape: rules.convPack, dtype: '@dtype' },
    ],
    words: 3,
  },
  conv2d: {
    name: 'conv2d',
    id: 83,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'I' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'w', shape: ['*'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'bias', shape: [{ text: 'a.o', value: (_d, a) => a.o! }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'residual', shape: ['*'], dtypes: ['f32', 'f16', 'bf16'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'o', type: 'i32' },
      { name: 'kernel', type: 'i32', default: 3 },
      { name: 'stride', type: 'i32', default: 1 },
      { name: 'padBefore', type: 'i32', default: 1 },
      { name: 'padAfter', type: 'i32', default: 1 },
      { name: 'upsample', type: 'i32', default: 1 },
      { name: 'algo', type: 'enum', values: ['direct', 'winograd2', 'winograd4'], default: 'direct' },
      { name: 'alpha', type: 'f32', default: 1 },
      { name: 'beta', type: 'f32', default: 1 },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { text: 'floor((h*a.upsample+a.padBefore+a.padAfter-a.kernel)/a.stride)+1', value: (d, a) => Math.floor((d.h! * a.upsample! + a.padBefore! + a.padAfter! - a.kernel!) / a.stride!) + 1 }, { text: 'floor((w*a.upsample+a.padBefore+a.padAfter-a.kernel)/a.stride)+1', value: (d, a) => Math.floor((d.w! * a.upsample! + a.padBefore! + a.padAfter! - a.kernel!) / a.stride!) + 1 }, { text: 'a.o', value: (_d, a) => a.o! }], dtype: '@dtype' },
    ],
    check: rules.conv2d,
    words: 10,
  },
  groupNorm: {
    name: 'group_norm',
    id: 84,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'gamma', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'beta', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'groups', type: 'i32', default: 32 },
      { name: 'eps', type: 'f32', default: 0.000001 },
      { name: 'silu', type: 'bool', default: false },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtype: '@dtype' },
    ],
    check: rules.groupNorm,
    words: 4,
  },
  layerNorm: {
    name: 'layer_norm',
    id: 85,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'mod', shape: [{ letter: 'Bm' }, { letter: 'G' }, { letter: 'C' }], dtypes: ['f32'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'eps', type: 'f32', default: 0.000001 },
      { name: 'scaleAt', type: 'i32', default: 0 },
      { name: 'shiftAt', type: 'i32', default: 1 },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'C' }], dtype: '@dtype' },
    ],
    check: rules.layerNorm,
    words: 4,
  },
  attention: {
    name: 'attention',
    id: 86,
    inputs: [
      { name: 'qkv', shape: [{ letter: 'B' }, { letter: 'l' }, { text: '3*a.heads*a.width', value: (_d, a) => 3 * a.heads! * a.width! }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'scaleMul', shape: [{ text: 'a.heads', value: (_d, a) => a.heads! }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'visible', shape: [{ letter: 'l' }], dtypes: ['i32'], optional: true, mut: false },
      { name: 'kCache', shape: [{ letter: 'B' }, { text: 'a.heads', value: (_d, a) => a.heads! }, { letter: 'Lmax' }, { text: 'a.width', value: (_d, a) => a.width! }], dtypes: ['f32', 'f16', 'bf16'], optional: true, mut: true },
      { name: 'vCache', shape: [{ letter: 'B' }, { text: 'a.heads', value: (_d, a) => a.heads! }, { letter: 'Lmax' }, { text: 'a.width', value: (_d, a) => a.width! }], dtypes: ['f32', 'f16', 'bf16'], optional: true, mut: true },
      { name: 'lse', shape: [{ letter: 'B' }, { text: 'a.heads', value: (_d, a) => a.heads! }, { letter: 'l' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'heads', type: 'i32' },
      { name: 'width', type: 'i32' },
      { name: 'scale', type: 'f32', default: 1 },
      { name: 'maxScaleMul', type: 'f32', default: 4.605170185988092 },
      { name: 'pos', type: 'i32', default: 0 },
      { name: 'append', type: 'bool', default: false },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { text: 'a.heads*a.width', value: (_d, a) => a.heads! * a.width! }], dtype: '=qkv' },
    ],
    check: rules.attention,
    words: 6,
  },
  interpolate: {
    name: 'interpolate',
    id: 87,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'mode', type: 'enum', values: ['area', 'bicubic', 'nearest'] },
      { name: 'outH', type: 'i32' },
      { name: 'outW', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { text: 'a.outH', value: (_d, a) => a.outH! }, { text: 'a.outW', value: (_d, a) => a.outW! }, { letter: 'C' }], dtype: 'f32' },
    ],
    check: rules.interpolate,
    words: 3,
  },
  resizeLanczos: {
    name: 'resize_lanczos',
    id: 88,
    inputs: [
      { name: 'x', shape: [{ letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['u8'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'outH', type: 'i32' },
      { name: 'outW', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: [{ text: 'a.outH', value: (_d, a) => a.outH! }, { text: 'a.outW', value: (_d, a) => a.outW! }, { letter: 'C' }], dtype: 'u8' },
    ],
    check: rules.interpolate,
    words: 2,
  },
  imageToUnit: {
    name: 'image_to_unit',
    id: 89,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['u8'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'y', shape: ['...'], dtype: 'f32' },
    ],
    words: 0,
  },
  unitToImage: {
    name: 'unit_to_image',
    id: 90,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'y', shape: ['...'], dtype: 'u8' },
    ],
    words: 0,
  },
  vqLookup: {
    name: 'vq_lookup',
    id: 91,
    inputs: [
      { name: 'z', shape: [{ letter: 'N' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'codebook', shape: [{ letter: 'V' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'cosine', type: 'bool', default: false },
    ],
    outputs: [
      { name: 'idx', shape: [{ letter: 'N' }], dtype: 'i32' },
    ],
    words: 1,
  },
  cfgMix: {
    name: 'cfg_mix',
    id: 92,
    inputs: [
      { name: 'logits', shape: [{ text: '2*B', value: (d) => 2 * d.B! }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 't', shape: [{ letter: 'B' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtype: 'f32' },
    ],
    words: 0,
  },
  truncateLogits: {
    name: 'truncate_logits',
    id: 93,
    inputs: [
      { name: 'logits', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'topK', shape: [{ letter: 'B' }], dtypes: ['i32'], optional: false, mut: false },
      { name: 'topP', shape: [{ letter: 'B' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtype: 'f32' },
    ],
    words: 0,
  },
  multinomial: {
    name: 'multinomial',
    id: 94,
    inputs: [
      { name: 'probs', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'seed', shape: [{ letter: 'B' }, { text: '3', value: () => 3 }], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'scale', type: 'i32', default: 0 },
    ],
    outputs: [
      { name: 'idx', shape: [{ letter: 'B' }, { letter: 'l' }], dtype: 'i32' },
    ],
    words: 1,
  },
  sampleCfg: {
    name: 'sample_cfg',
    id: 95,
    inputs: [
      { name: 'logits', shape: [{ text: '2*B', value: (d) => 2 * d.B! }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 't', shape: [{ letter: 'B' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'topK', shape: [{ letter: 'B' }], dtypes: ['i32'], optional: false, mut: false },
      { name: 'topP', shape: [{ letter: 'B' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'seed', shape: [{ letter: 'B' }, { text: '3', value: () => 3 }], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'scale', type: 'i32', default: 0 },
    ],
    outputs: [
      { name: 'idx', shape: [{ letter: 'B' }, { letter: 'l' }], dtype: 'i32' },
    ],
    words: 1,
  },
  gumbelSoftmax: {
    name: 'gumbel_softmax',
    id: 96,
    inputs: [
      { name: 'logits', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'gumbel', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'seed', shape: [{ letter: 'B' }, { text: '3', value: () => 3 }], dtypes: ['i32'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'mul', type: 'f32', default: 1 },
      { name: 'tau', type: 'f32', default: 1 },
      { name: 'scale', type: 'i32', default: 0 },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'V' }], dtype: 'f32' },
    ],
    check: rules.gumbelSoftmax,
    words: 3,
  },
  random: {
    name: 'random',
    id: 97,
    inputs: [],
    attrs: [
      { name: 'shape', type: 'dims' },
      { name: 'kind', type: 'enum', values: ['uniform', 'normal', 'trunc_normal'] },
      { name: 'mean', type: 'f32', default: 0 },
      { name: 'std', type: 'f32', default: 1 },
      { name: 'seedLo', type: 'i32', default: 0 },
      { name: 'seedHi', type: 'i32', default: 0 },
      { name: 'stream', type: 'i32', default: 0 },
    ],
    outputs: [
      { name: 'y', shape: rules.attrShape, dtype: 'f32' },
    ],
    words: 13,
  },
  unaryGrad: {
    name: 'unary_grad',
    id: 98,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: ['...'], dtypes: '=x', optional: false, mut: false },
    ],
    attrs: [
      { name: 'fn', type: 'enum', values: ['silu', 'gelu', 'exp', 'log', 'sqrt', 'rsqrt', 'tanh', 'sigmoid', 'abs', 'neg', 'square', 'recip'] },
    ],
    outputs: [
      { name: 'dx', shape: ['...'], dtype: '=x' },
    ],
    words: 1,
  },
  affineGrad: {
    name: 'affine_grad',
    id: 99,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: ['...'], dtypes: '=x', optional: false, mut: false },
    ],
    attrs: [
      { name: 'mul', type: 'f32', default: 1 },
      { name: 'add', type: 'f32', default: 0 },
      { name: 'lo', type: 'f32', default: Number.NEGATIVE_INFINITY },
      { name: 'hi', type: 'f32', default: Number.POSITIVE_INFINITY },
    ],
    outputs: [
      { name: 'dx', shape: ['...'], dtype: '=x' },
    ],
    words: 4,
  },
  sumTo: {
    name: 'sum_to',
    id: 100,
    inputs: [
      { name: 'x', shape: ['*'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'shape', type: 'dims' },
    ],
    outputs: [
      { name: 'y', shape: rules.sumTo, dtype: '=x' },
    ],
    words: 7,
  },
  broadcastTo: {
    name: 'broadcast_to',
    id: 101,
    inputs: [
      { name: 'x', shape: ['*'], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'shape', type: 'dims' },
    ],
    outputs: [
      { name: 'y', shape: rules.broadcastTo, dtype: '=x' },
    ],
    words: 7,
  },
  softmaxGrad: {
    name: 'softmax_grad',
    id: 102,
    inputs: [
      { name: 'y', shape: ['...', { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dy', shape: ['...', { letter: 'V' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'scale', type: 'f32', default: 1 },
    ],
    outputs: [
      { name: 'dx', shape: ['...', { letter: 'V' }], dtype: 'f32' },
    ],
    words: 1,
  },
  l2NormalizeGrad: {
    name: 'l2_normalize_grad',
    id: 103,
    inputs: [
      { name: 'x', shape: ['...', { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dy', shape: ['...', { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'eps', type: 'f32', default: 1e-12 },
    ],
    outputs: [
      { name: 'dx', shape: ['...', { letter: 'C' }], dtype: 'f32' },
    ],
    words: 1,
  },
  embeddingGrad: {
    name: 'embedding_grad',
    id: 104,
    inputs: [
      { name: 'idx', shape: ['...'], dtypes: ['i32'], optional: false, mut: false },
      { name: 'dy', shape: ['...', { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dTable', shape: [{ letter: 'V' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: true },
    ],
    attrs: [],
    outputs: [],
    words: 0,
  },
  scatterRows: {
    name: 'scatter_rows',
    id: 105,
    inputs: [
      { name: 'dst', shape: [{ letter: 'V' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'idx', shape: [{ letter: 'n' }], dtypes: ['i32'], optional: false, mut: false },
      { name: 'src', shape: [{ letter: 'n' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [],
    words: 0,
  },
  bincount: {
    name: 'bincount',
    id: 106,
    inputs: [
      { name: 'idx', shape: ['...'], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'n', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: [{ text: 'a.n', value: (_d, a) => a.n! }], dtype: 'f32' },
    ],
    check: rules.bincount,
    words: 1,
  },
  interpolateGrad: {
    name: 'interpolate_grad',
    id: 107,
    inputs: [
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'oh' }, { letter: 'ow' }, { letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'mode', type: 'enum', values: ['area', 'bicubic', 'nearest'] },
      { name: 'h', type: 'i32' },
      { name: 'w', type: 'i32' },
    ],
    outputs: [
      { name: 'dx', shape: [{ letter: 'B' }, { text: 'a.h', value: (_d, a) => a.h! }, { text: 'a.w', value: (_d, a) => a.w! }, { letter: 'C' }], dtype: 'f32' },
    ],
    check: rules.interpolateGrad,
    words: 3,
  },
  dilate: {
    name: 'dilate',
    id: 108,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'stride', type: 'i32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { text: '(h-1)*a.stride+1', value: (d, a) => (d.h! - 1) * a.stride! + 1 }, { text: '(w-1)*a.stride+1', value: (d, a) => (d.w! - 1) * a.stride! + 1 }, { letter: 'C' }], dtype: '=x' },
    ],
    check: rules.dilate,
    words: 1,
  },
  gateResidual: {
    name: 'gate_residual',
    id: 109,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'gate', shape: [{ letter: 'Bg' }, { letter: 'G' }, { letter: 'N' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'residual', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtypes: ['f32', 'f16', 'bf16'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'gateAt', type: 'i32', default: 0 },
      { name: 'dtype', type: 'dtype', default: 'f32' },
    ],
    outputs: [
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtype: '@dtype' },
    ],
    check: rules.gateResidual,
    words: 2,
  },
  gateResidualGrad: {
    name: 'gate_residual_grad',
    id: 110,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'gate', shape: [{ letter: 'Bg' }, { letter: 'G' }, { letter: 'N' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dGate', shape: [{ letter: 'Bg' }, { letter: 'G' }, { letter: 'N' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'gateAt', type: 'i32', default: 0 },
    ],
    outputs: [
      { name: 'dx', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtype: '=x' },
    ],
    check: rules.gateResidual,
    words: 1,
  },
  linearGradW: {
    name: 'linear_grad_w',
    id: 111,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'K' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'N' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dw', shape: [{ letter: 'N' }, { letter: 'K' }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'dbias', shape: [{ letter: 'N' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'alpha', type: 'f32', default: 1 },
    ],
    outputs: [],
    words: 1,
  },
  conv2dGradW: {
    name: 'conv2d_grad_w',
    id: 112,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'I' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'oh' }, { letter: 'ow' }, { letter: 'O' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dw', shape: [{ letter: 'O' }, { letter: 'I' }, { letter: 'kh' }, { letter: 'kw' }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'dbias', shape: [{ letter: 'O' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'stride', type: 'i32', default: 1 },
      { name: 'padBefore', type: 'i32', default: 1 },
      { name: 'padAfter', type: 'i32', default: 1 },
      { name: 'upsample', type: 'i32', default: 1 },
      { name: 'alpha', type: 'f32', default: 1 },
    ],
    outputs: [],
    check: rules.conv2dGradW,
    words: 5,
  },
  attentionGrad: {
    name: 'attention_grad',
    id: 113,
    inputs: [
      { name: 'qkv', shape: [{ letter: 'B' }, { letter: 'l' }, { text: '3*a.heads*a.width', value: (_d, a) => 3 * a.heads! * a.width! }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'y', shape: [{ letter: 'B' }, { letter: 'l' }, { text: 'a.heads*a.width', value: (_d, a) => a.heads! * a.width! }], dtypes: '=qkv', optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'l' }, { text: 'a.heads*a.width', value: (_d, a) => a.heads! * a.width! }], dtypes: '=qkv', optional: false, mut: false },
      { name: 'lse', shape: [{ letter: 'B' }, { text: 'a.heads', value: (_d, a) => a.heads! }, { letter: 'l' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'scaleMul', shape: [{ text: 'a.heads', value: (_d, a) => a.heads! }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'visible', shape: [{ letter: 'l' }], dtypes: ['i32'], optional: true, mut: false },
      { name: 'dScaleMul', shape: [{ text: 'a.heads', value: (_d, a) => a.heads! }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'heads', type: 'i32' },
      { name: 'width', type: 'i32' },
      { name: 'scale', type: 'f32', default: 1 },
      { name: 'maxScaleMul', type: 'f32', default: 4.605170185988092 },
    ],
    outputs: [
      { name: 'dqkv', shape: [{ letter: 'B' }, { letter: 'l' }, { text: '3*a.heads*a.width', value: (_d, a) => 3 * a.heads! * a.width! }], dtype: '=qkv' },
    ],
    check: rules.attentionGrad,
    words: 4,
  },
  layerNormGrad: {
    name: 'layer_norm_grad',
    id: 114,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'mod', shape: [{ letter: 'Bm' }, { letter: 'G' }, { letter: 'C' }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'dMod', shape: [{ letter: 'Bm' }, { letter: 'G' }, { letter: 'C' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'eps', type: 'f32', default: 0.000001 },
      { name: 'scaleAt', type: 'i32', default: 0 },
      { name: 'shiftAt', type: 'i32', default: 1 },
    ],
    outputs: [
      { name: 'dx', shape: [{ letter: 'B' }, { letter: 'l' }, { letter: 'C' }], dtype: '=x' },
    ],
    check: rules.layerNormGrad,
    words: 3,
  },
  groupNormGrad: {
    name: 'group_norm_grad',
    id: 115,
    inputs: [
      { name: 'x', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'dy', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'gamma', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'beta', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dGamma', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: true, mut: true },
      { name: 'dBeta', shape: [{ letter: 'C' }], dtypes: ['f32'], optional: true, mut: true },
    ],
    attrs: [
      { name: 'groups', type: 'i32', default: 32 },
      { name: 'eps', type: 'f32', default: 0.000001 },
      { name: 'silu', type: 'bool', default: false },
    ],
    outputs: [
      { name: 'dx', shape: [{ letter: 'B' }, { letter: 'h' }, { letter: 'w' }, { letter: 'C' }], dtype: '=x' },
    ],
    check: rules.groupNorm,
    words: 3,
  },
  crossEntropy: {
    name: 'cross_entropy',
    id: 116,
    inputs: [
      { name: 'logits', shape: ['...', { letter: 'V' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'target', shape: ['...'], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'labelSmooth', type: 'f32', default: 0 },
    ],
    outputs: [
      { name: 'loss', shape: ['...'], dtype: 'f32' },
    ],
    check: rules.crossEntropy,
    words: 1,
  },
  crossEntropyGrad: {
    name: 'cross_entropy_grad',
    id: 117,
    inputs: [
      { name: 'logits', shape: ['...', { letter: 'V' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'target', shape: ['...'], dtypes: ['i32'], optional: false, mut: false },
      { name: 'dLoss', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'labelSmooth', type: 'f32', default: 0 },
    ],
    outputs: [
      { name: 'dLogits', shape: ['...', { letter: 'V' }], dtype: '=logits' },
    ],
    check: rules.crossEntropy,
    words: 1,
  },
  pairLoss: {
    name: 'pair_loss',
    id: 118,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
      { name: 'y', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'kind', type: 'enum', values: ['l1', 'l2'] },
    ],
    outputs: [
      { name: 'loss', shape: [{ text: '1', value: () => 1 }], dtype: 'f32' },
    ],
    words: 1,
  },
  pairLossGrad: {
    name: 'pair_loss_grad',
    id: 119,
    inputs: [
      { name: 'x', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
      { name: 'y', shape: ['...'], dtypes: ['f32'], optional: false, mut: false },
      { name: 'dLoss', shape: [{ text: '1', value: () => 1 }], dtypes: ['f32'], optional: false, mut: false },
    ],
    attrs: [
      { name: 'kind', type: 'enum', values: ['l1', 'l2'] },
    ],
    outputs: [
      { name: 'dx', shape: ['...'], dtype: 'f32' },
    ],
    words: 1,
  },
  gradStats: {
    name: 'grad_stats',
    id: 120,
    inputs: [
      { name: 'g', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'offsets', shape: [{ letter: 's' }], dtypes: ['i32'], optional: false, mut: false },
    ],
    attrs: [],
    outputs: [
      { name: 'stats', shape: [{ text: 's-1', value: (d) => d.s! - 1 }, { text: '2', value: () => 2 }], dtype: 'f32' },
    ],
    check: rules.gradStats,
    words: 0,
  },
  adamw: {
    name: 'adamw',
    id: 121,
    inputs: [
      { name: 'param', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: true },
      { name: 'grad', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'm', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'v', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'master', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: true, mut: true },
      { name: 'stats', shape: [{ text: '2', value: () => 2 }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'dynamic', shape: [{ text: '4', value: () => 4 }], dtypes: ['f32'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'lr', type: 'f32' },
      { name: 'beta1', type: 'f32', default: 0.9 },
      { name: 'beta2', type: 'f32', default: 0.999 },
      { name: 'eps', type: 'f32', default: 1e-8 },
      { name: 'weightDecay', type: 'f32', default: 0 },
      { name: 'decoupled', type: 'bool', default: true },
      { name: 'step', type: 'i32' },
      { name: 'invScale', type: 'f32', default: 1 },
      { name: 'maxNorm', type: 'f32', default: 0 },
    ],
    outputs: [],
    check: rules.adamw,
    words: 9,
  },
  adamw8: {
    name: 'adamw8',
    id: 122,
    inputs: [
      { name: 'param', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: true },
      { name: 'grad', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'm', shape: [{ letter: 'n' }], dtypes: ['u8'], optional: false, mut: true },
      { name: 'v', shape: [{ letter: 'n' }], dtypes: ['u8'], optional: false, mut: true },
      { name: 'mScale', shape: [{ text: 'ceil(n/256)', value: (d) => Math.ceil(d.n! / 256) }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'vScale', shape: [{ text: 'ceil(n/256)', value: (d) => Math.ceil(d.n! / 256) }], dtypes: ['f32'], optional: false, mut: true },
      { name: 'master', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: true, mut: true },
      { name: 'stats', shape: [{ text: '2', value: () => 2 }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'dynamic', shape: [{ text: '4', value: () => 4 }], dtypes: ['f32'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'lr', type: 'f32' },
      { name: 'beta1', type: 'f32', default: 0.9 },
      { name: 'beta2', type: 'f32', default: 0.999 },
      { name: 'eps', type: 'f32', default: 1e-8 },
      { name: 'weightDecay', type: 'f32', default: 0 },
      { name: 'decoupled', type: 'bool', default: true },
      { name: 'step', type: 'i32' },
      { name: 'invScale', type: 'f32', default: 1 },
      { name: 'maxNorm', type: 'f32', default: 0 },
    ],
    outputs: [],
    check: rules.adamw,
    words: 9,
  },
  sgd: {
    name: 'sgd',
    id: 123,
    inputs: [
      { name: 'param', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: true },
      { name: 'grad', shape: [{ letter: 'n' }], dtypes: ['f32', 'f16', 'bf16'], optional: false, mut: false },
      { name: 'velocity', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: true, mut: true },
      { name: 'master', shape: [{ letter: 'n' }], dtypes: ['f32'], optional: true, mut: true },
      { name: 'stats', shape: [{ text: '2', value: () => 2 }], dtypes: ['f32'], optional: true, mut: false },
      { name: 'dynamic', shape: [{ text: '4', value: () => 4 }], dtypes: ['f32'], optional: true, mut: false },
    ],
    attrs: [
      { name: 'lr', type: 'f32' },
      { name: 'momentum', type: 'f32', default: 0 },
      { name: 'nesterov', type: 'bool', default: false },
      { name: 'weightDecay', type: 'f32', default: 0 },
      { name: 'invScale', type: 'f32', default: 1 },
      { name: 'maxNorm', type: 'f32', default: 0 },
    ],
    outputs: [],
    check: rules.sgd,
    words: 6,
  },
} as const satisfies Record<string, OpDecl>;

/** One method per op: checks the call, then hands it to the sink. Throws ShapeError, DTypeError, ArgumentError, DisposedError. */
export class Ops<T extends TensorRef> {
  readonly #sink: Sink<T>;
  constructor(sink: Sink<T>) {
    this.#sink = sink;
  }

  /**
   * Tensor of one value.
   * @param options.shape dims
   * @param options.value f32, default 0
   * @param options.dtype dtype, default f32
   * @returns y @dtype
   */
  fill(options: { shape: readonly number[]; value?: number; dtype?: DType }): T {
    return this.#sink.run(OPS.fill, [], options) as T;
  }

  /**
   * Converts the dtype; float to integer truncates toward zero and saturates, f32 to f16/bf16 rounds to nearest even.
   * @param x [...] f32|f16|bf16|i32|u8
   * @param options.dtype dtype
   * @returns [...] @dtype
   */
  cast(x: T, options: { dtype: DType }): T {
    return this.#sink.run(OPS.cast, [x], options) as T;
  }

  /**
   * Copy with another shape of the same size.
   * @param x [...] any
   * @param options.shape dims
   * @returns y =x
   */
  reshape(x: T, options: { shape: readonly number[] }): T {
    return this.#sink.run(OPS.reshape, [x], options) as T;
  }

  /**
   * Elementwise function. gelu is the tanh approximation.
   * @param x [...] f32|f16|bf16
   * @param options.fn silu | gelu | exp | log | sqrt | rsqrt | tanh | sigmoid | abs | neg | square | recip
   * @returns [...] =x
   */
  unary(x: T, options: { fn: 'silu' | 'gelu' | 'exp' | 'log' | 'sqrt' | 'rsqrt' | 'tanh' | 'sigmoid' | 'abs' | 'neg' | 'square' | 'recip' }): T {
    return this.#sink.run(OPS.unary, [x], options) as T;
  }

  /**
   * Elementwise function of two tensors with NumPy broadcasting; lt and le give 1 or 0.
   * @param a [*] f32|f16|bf16|i32
   * @param b [*] =a
   * @param options.fn add | sub | mul | div | max | min | lt | le
   * @returns y =a
   */
  binary(a: T, b: T, options: { fn: 'add' | 'sub' | 'mul' | 'div' | 'max' | 'min' | 'lt' | 'le' }): T {
    return this.#sink.run(OPS.binary, [a, b], options) as T;
  }

  /**
   * clamp(x * mul + add, lo, hi).
   * @param x [...] f32|f16|bf16
   * @param options.mul f32, default 1
   * @param options.add f32, default 0
   * @param options.lo f32, default -inf
   * @param options.hi f32, default inf
   * @returns [...] =x
   */
  affine(x: T, options: { mul?: number; add?: number; lo?: number; hi?: number } = {}): T {
    return this.#sink.run(OPS.affine, [x], options) as T;
  }

  /**
   * y = y * beta + x * alpha, in place.
   * @param y [...] f32|f16|bf16, changed in place
   * @param x [...] =y
   * @param options.alpha f32, default 1
   * @param options.beta f32, default 1
   */
  accumulate(y: T, x: T, options: { alpha?: number; beta?: number } = {}): void {
    this.#sink.run(OPS.accumulate, [y, x], options);
  }

  /**
   * Reduction over one axis, which is removed (argmax gives the first maximum as i32).
   * @param x [*] f32
   * @param options.fn sum | mean | max | min | argmax
   * @param options.axis i32, default -1
   * @returns y reduceDtype
   */
  reduce(x: T, options: { fn: 'sum' | 'mean' | 'max' | 'min' | 'argmax'; axis?: number }): T {
    return this.#sink.run(OPS.reduce, [x], options) as T;
  }

  /**
   * Softmax over the last dim of x * scale; a row with NaN or +inf, or of -inf only, gives NaN.
   * @param x [...,V] f32
   * @param options.scale f32, default 1
   * @returns [...,V] f32
   */
  softmax(x: T, options: { scale?: number } = {}): T {
    return this.#sink.run(OPS.softmax, [x], options) as T;
  }

  /**
   * x / max(|x|, eps) over the last dim (F.normalize).
   * @param x [...,C] f32
   * @param options.eps f32, default 1e-12
   * @returns [...,C] f32
   */
  l2Normalize(x: T, options: { eps?: number } = {}): T {
    return this.#sink.run(OPS.l2Normalize, [x], options) as T;
  }

  /**
   * Reorders the dims: y.dim[i] = x.dim[order[i]].
   * @param x [*] any
   * @param options.order dims
   * @returns y =x
   */
  permute(x: T, options: { order: readonly number[] }): T {
    return this.#sink.run(OPS.permute, [x], options) as T;
  }

  /**
   * Copies size entries from start along one axis.
   * @param x [*] any
   * @param options.axis i32
   * @param options.start i32
   * @param options.size i32
   * @returns y =x
   */
  slice(x: T, options: { axis: number; start: number; size: number }): T {
    return this.#sink.run(OPS.slice, [x], options) as T;
  }

  /**
   * Joins two tensors along one axis.
   * @param a [*] any
   * @param b [*] =a
   * @param options.axis i32
   * @returns y =a
   */
  concat(a: T, b: T, options: { axis: number }): T {
    return this.#sink.run(OPS.concat, [a, b], options) as T;
  }

  /**
   * Overwrites dst at start along one axis with src, in place.
   * @param dst [*] any, changed in place
   * @param src [*] =dst
   * @param options.axis i32
   * @param options.start i32
   */
  writeSlice(dst: T, src: T, options: { axis: number; start: number }): void {
    this.#sink.run(OPS.writeSlice, [dst, src], options);
  }

  /**
   * Rows of a table; an index outside [0, V) is a late index error.
   * @param table [V,C] f32|f16|bf16
   * @param idx [...] i32
   * @returns [...,C] f32
   */
  embedding(table: T, idx: T): T {
    return this.#sink.run(OPS.embedding, [table, idx], {}) as T;
  }

  /**
   * Weight [N,K] to panels of 16 output columns, zero-padded, k-major: packed[p][k][j] = w[p*16+j][k]. transpose packs the transposed weight, [ceil(K/16), N, 16]: what the gradient of the input is multiplied with. The dtype may narrow to f16/bf16, or (CPU, not transposed) to u8 [ceil(N/16), K+4, 16]: signed bytes, and behind all panels 16 f32 scales per panel.
   * @param w [N,K] f32|f16|bf16
   * @param options.dtype dtype, default f32
   * @param options.transpose bool, default false
   * @returns packed @dtype
   */
  linearPack(w: T, options: { dtype?: DType; transpose?: boolean } = {}): T {
    return this.#sink.run(OPS.linearPack, [w], options) as T;
  }

  /**
   * y = residual + gate * act(x W^T + bias); gate is row gateAt of [B,G,N], one row per leading B of x (B may be 1).
   * @param x [B,l,K] f32|f16|bf16
   * @param w [P,Kw,16] f32|f16|bf16|u8
   * @param options.bias [a.n] f32
   * @param options.gate [Bg,G,a.n] f32
   * @param options.residual [B,l,a.n] f32|f16|bf16
   * @param options.n i32
   * @param options.act none | gelu | silu, default none
   * @param options.gateAt i32, default 0
   * @param options.dtype dtype, default f32
   * @returns [B,l,a.n] @dtype
   */
  linear(x: T, w: T, options: { n: number; act?: 'none' | 'gelu' | 'silu'; gateAt?: number; dtype?: DType; bias?: T | undefined; gate?: T | undefined; residual?: T | undefined }): T {
    return this.#sink.run(OPS.linear, [x, w, options.bias, options.gate, options.residual], options) as T;
  }

  /**
   * Batched product a b (or a b^T with transB) times alpha.
   * @param a [B,M,K] f32|f16|bf16
   * @param b [B,*] =a
   * @param options.transB bool, default false
   * @param options.alpha f32, default 1
   * @returns y =a
   */
  matmul(a: T, b: T, options: { transB?: boolean; alpha?: number } = {}): T {
    return this.#sink.run(OPS.matmul, [a, b], options) as T;
  }

  /**
   * Convolution weight OIHW to panels of 16 output channels. direct: [ceil(O/16), kh*kw*I, 16], k = (ky*kw+kx)*I+i. winograd2/4 (3x3 stride 1): [16 or 36, ceil(O/16), I, 16], transformed in f32 from f64. transpose packs the weight of the gradient of the input: w'[i][o][y][x] = w[o][i][kh-1-y][kw-1-x], with I panels of O.
   * @param w [O,I,kh,kw] f32|f16|bf16
   * @param options.algo direct | winograd2 | winograd4, default direct
   * @param options.dtype dtype, default f32
   * @param options.transpose bool, default false
   * @returns packed @dtype
   */
  convPack(w: T, options: { algo?: 'direct' | 'winograd2' | 'winograd4'; dtype?: DType; transpose?: boolean } = {}): T {
    return this.#sink.run(OPS.convPack, [w], options) as T;
  }

  /**
   * NHWC convolution: y = alpha * (conv(up(x)) + bias) + beta * residual, up = nearest by upsample. Padding: before/after in both dims (3x3 s1: 1,1; the encoder's 3x3 s2: 0,1).
   * @param x [B,h,w,I] f32|f16|bf16
   * @param w [*] f32|f16|bf16
   * @param options.bias [a.o] f32
   * @param options.residual [*] f32|f16|bf16
   * @param options.o i32
   * @param options.kernel i32, default 3
   * @param options.stride i32, default 1
   * @param options.padBefore i32, default 1
   * @param options.padAfter i32, default 1
   * @param options.upsample i32, default 1
   * @param options.algo direct | winograd2 | winograd4, default direct
   * @param options.alpha f32, default 1
   * @param options.beta f32, default 1
   * @param options.dtype dtype, default f32
   * @returns [B,floor((h*a.upsample+a.padBefore+a.padAfter-a.kernel)/a.stride)+1,floor((w*a.upsample+a.padBefore+a.padAfter-a.kernel)/a.stride)+1,a.o] @dtype
   */
  conv2d(x: T, w: T, options: { o: number; kernel?: number; stride?: number; padBefore?: number; padAfter?: number; upsample?: number; algo?: 'direct' | 'winograd2' | 'winograd4'; alpha?: number; beta?: number; dtype?: DType; bias?: T | undefined; residual?: T | undefined }): T {
    return this.#sink.run(OPS.conv2d, [x, w, options.bias, options.residual], options) as T;
  }

  /**
   * GroupNorm over NHWC with affine, then SiLU if asked; statistics in f32 or better.
   * @param x [B,h,w,C] f32|f16|bf16
   * @param gamma [C] f32
   * @param beta [C] f32
   * @param options.groups i32, default 32
   * @param options.eps f32, default 0.000001
   * @param options.silu bool, default false
   * @param options.dtype dtype, default f32
   * @returns [B,h,w,C] @dtype
   */
  groupNorm(x: T, gamma: T, beta: T, options: { groups?: number; eps?: number; silu?: boolean; dtype?: DType } = {}): T {
    return this.#sink.run(OPS.groupNorm, [x, gamma, beta], options) as T;
  }

  /**
   * LayerNorm without affine over the last dim, then AdaLN modulation y * (1 + scale) + shift; mod is [Bm,G,C], Bm is B or 1, scaleAt/shiftAt choose the rows.
   * @param x [B,l,C] f32|f16|bf16
   * @param options.mod [Bm,G,C] f32
   * @param options.eps f32, default 0.000001
   * @param options.scaleAt i32, default 0
   * @param options.shiftAt i32, default 1
   * @param options.dtype dtype, default f32
   * @returns [B,l,C] @dtype
   */
  layerNorm(x: T, options: { eps?: number; scaleAt?: number; shiftAt?: number; dtype?: DType; mod?: T | undefined } = {}): T {
    return this.#sink.run(OPS.layerNorm, [x, options.mod], options) as T;
  }

  /**
   * Self-attention on fused qkv [B,l,3,H,c] (flattened). With scaleMul: q and k are l2-normalised per head and q times exp(min(scaleMul, maxScaleMul)). scores times scale. Keys: the first pos rows of the caches, then the l new ones; with append the new (normalised) k and v are written to the caches at pos. visible[i] = number of keys query i sees, counted over cache and new keys together (block-causal by scale; absent: all); outside 1..pos+l is a late error. New keys and values are used as f32, whatever the caches hold. In f32 a row does not depend on l, the batch or how its keys came: f32 caches give the bits of the uncached call. With 16-bit qkv a backend may round the normalised q, k, v and the probabilities to that dtype. lse, where given, receives the log of the sum of exp of each row's scaled scores (for attention_grad).
   * @param qkv [B,l,3*a.heads*a.width] f32|f16|bf16
   * @param options.scaleMul [a.heads] f32
   * @param options.visible [l] i32
   * @param options.kCache [B,a.heads,Lmax,a.width] f32|f16|bf16, changed in place
   * @param options.vCache [B,a.heads,Lmax,a.width] f32|f16|bf16, changed in place
   * @param options.lse [B,a.heads,l] f32, changed in place
   * @param options.heads i32
   * @param options.width i32
   * @param options.scale f32, default 1
   * @param options.maxScaleMul f32, default 4.605170185988092
   * @param options.pos i32, default 0
   * @param options.append bool, default false
   * @returns [B,l,a.heads*a.width] =qkv
   */
  attention(qkv: T, options: { heads: number; width: number; scale?: number; maxScaleMul?: number; pos?: number; append?: boolean; scaleMul?: T | undefined; visible?: T | undefined; kCache?: T | undefined; vCache?: T | undefined; lse?: T | undefined }): T {
    return this.#sink.run(OPS.attention, [qkv, options.scaleMul, options.visible, options.kCache, options.vCache, options.lse], options) as T;
  }

  /**
   * NHWC resampling: area (adaptive average), bicubic (a = -0.75, align_corners false, no antialias), nearest.
   * @param x [B,h,w,C] f32
   * @param options.mode area | bicubic | nearest
   * @param options.outH i32
   * @param options.outW i32
   * @returns [B,a.outH,a.outW,C] f32
   */
  interpolate(x: T, options: { mode: 'area' | 'bicubic' | 'nearest'; outH: number; outW: number }): T {
    return this.#sink.run(OPS.interpolate, [x], options) as T;
  }

  /**
   * 8-bit image HWC, antialiased Lanczos (a = 3) as PIL does it: along x, then along y over bytes rounded in between, 22-bit fixed-point weights.
   * @param x [h,w,C] u8
   * @param options.outH i32
   * @param options.outW i32
   * @returns [a.outH,a.outW,C] u8
   */
  resizeLanczos(x: T, options: { outH: number; outW: number }): T {
    return this.#sink.run(OPS.resizeLanczos, [x], options) as T;
  }

  /**
   * Bytes to [-1,1] as the reference does it in f32: v = u8 / 255; v + v - 1.
   * @param x [...] u8
   * @returns [...] f32
   */
  imageToUnit(x: T): T {
    return this.#sink.run(OPS.imageToUnit, [x], {}) as T;
  }

  /**
   * [-1,1] to bytes: round(clamp((x + 1) * 127.5, 0, 255)), half to even; NaN gives 0.
   * @param x [...] f32
   * @returns [...] u8
   */
  unitToImage(x: T): T {
    return this.#sink.run(OPS.unitToImage, [x], {}) as T;
  }

  /**
   * Index of the nearest code (first one on ties; 0 for a vector of NaN): smallest |e|^2 - 2 z.e in f32, or largest cosine of both normalised (eps 1e-12); no N x V matrix.
   * @param z [N,C] f32
   * @param codebook [V,C] f32
   * @param options.cosine bool, default false
   * @returns [N] i32
   */
  vqLookup(z: T, codebook: T, options: { cosine?: boolean } = {}): T {
    return this.#sink.run(OPS.vqLookup, [z, codebook], options) as T;
  }

  /**
   * Guidance: (1 + t[b]) * logits[b] - t[b] * logits[B + b].
   * @param logits [2*B,l,V] f32
   * @param t [B] f32
   * @returns [B,l,V] f32
   */
  cfgMix(logits: T, t: T): T {
    return this.#sink.run(OPS.cfgMix, [logits, t], {}) as T;
  }

  /**
   * Sets to -inf what top-k, then top-p (of the softmax of what is left), remove; k <= 0, k >= V or p <= 0 switches it off; k and p per image. Top-k keeps every logit not below the k-th largest, and all where fewer than k are finite. Top-p removes in ascending order (equal logits by index) while the cumulative probability is <= 1 - p; the largest (the last of equals) always stays. NaN or +inf is a late error that names the row.
   * @param logits [B,l,V] f32
   * @param topK [B] i32
   * @param topP [B] f32
   * @returns [B,l,V] f32
   */
  truncateLogits(logits: T, topK: T, topP: T): T {
    return this.#sink.run(OPS.truncateLogits, [logits, topK, topP], {}) as T;
  }

  /**
   * One draw per row of probabilities (they need not sum to 1): the first index whose running sum in f64 exceeds u * total. u = (x + 0.5) / 2^32, x the first word of Philox4x32-10 with seed[b] = (lo, hi, imageIndex), key (lo, hi), counter (token, scale, imageIndex, 0). A negative, NaN, infinite or all-zero row is a late error.
   * @param probs [B,l,V] f32
   * @param seed [B,3] i32
   * @param options.scale i32, default 0
   * @returns [B,l] i32
   */
  multinomial(probs: T, seed: T, options: { scale?: number } = {}): T {
    return this.#sink.run(OPS.multinomial, [probs, seed], options) as T;
  }

  /**
   * Fused cfg_mix, truncate_logits, softmax, multinomial: the same tokens as the chain. NaN, +inf or a row without a finite logit is a late error that names image and token.
   * @param logits [2*B,l,V] f32
   * @param t [B] f32
   * @param topK [B] i32
   * @param topP [B] f32
   * @param seed [B,3] i32
   * @param options.scale i32, default 0
   * @returns [B,l] i32
   */
  sampleCfg(logits: T, t: T, topK: T, topP: T, seed: T, options: { scale?: number } = {}): T {
    return this.#sink.run(OPS.sampleCfg, [logits, t, topK, topP, seed], options) as T;
  }

  /**
   * softmax((logits * mul + g) / tau) per row, tau > 0; g given, or -log(-log(u)) with u as multinomial's from word v % 4 of counter (token, scale, imageIndex, 0x47000000 + v / 4). -inf gives 0; NaN, +inf or nothing finite is a late error.
   * @param logits [B,l,V] f32
   * @param options.gumbel [B,l,V] f32
   * @param options.seed [B,3] i32
   * @param options.mul f32, default 1
   * @param options.tau f32, default 1
   * @param options.scale i32, default 0
   * @returns [B,l,V] f32
   */
  gumbelSoftmax(logits: T, options: { mul?: number; tau?: number; scale?: number; gumbel?: T | undefined; seed?: T | undefined } = {}): T {
    return this.#sink.run(OPS.gumbelSoftmax, [logits, options.gumbel, options.seed], options) as T;
  }

  /**
   * Philox numbers from u = (x + 0.5) / 2^32, x word i % 4 of key (seedLo, seedHi), counter (i / 4 low, i / 4 high, stream, 0x52). uniform: mean and std are lo and hi of [lo, hi), lo + u * (hi - lo). normal: mean + std * sqrt(2) * erfinv(2 u - 1). trunc_normal: the same with u mapped to [cdf(-2), cdf(2)], that is cut at -2 and 2 as nn.init.trunc_normal_ does by default; mean must lie in [-2, 2]. Element i depends on (seed, stream, i) only.
   * @param options.shape dims
   * @param options.kind uniform | normal | trunc_normal
   * @param options.mean f32, default 0
   * @param options.std f32, default 1
   * @param options.seedLo i32, default 0
   * @param options.seedHi i32, default 0
   * @param options.stream i32, default 0
   * @returns y f32
   */
  random(options: { shape: readonly number[]; kind: 'uniform' | 'normal' | 'trunc_normal'; mean?: number; std?: number; seedLo?: number; seedHi?: number; stream?: number }): T {
    return this.#sink.run(OPS.random, [], options) as T;
  }

  /**
   * Gradient of unary at x: dy * f'(x); abs has slope 0 at 0.
   * @param x [...] f32|f16|bf16
   * @param dy [...] =x
   * @param options.fn silu | gelu | exp | log | sqrt | rsqrt | tanh | sigmoid | abs | neg | square | recip
   * @returns [...] =x
   */
  unaryGrad(x: T, dy: T, options: { fn: 'silu' | 'gelu' | 'exp' | 'log' | 'sqrt' | 'rsqrt' | 'tanh' | 'sigmoid' | 'abs' | 'neg' | 'square' | 'recip' }): T {
    return this.#sink.run(OPS.unaryGrad, [x, dy], options) as T;
  }

  /**
   * Gradient of affine: dy * mul where x * mul + add lies in [lo, hi], else 0.
   * @param x [...] f32|f16|bf16
   * @param dy [...] =x
   * @param options.mul f32, default 1
   * @param options.add f32, default 0
   * @param options.lo f32, default -inf
   * @param options.hi f32, default inf
   * @returns [...] =x
   */
  affineGrad(x: T, dy: T, options: { mul?: number; add?: number; lo?: number; hi?: number } = {}): T {
    return this.#sink.run(OPS.affineGrad, [x, dy], options) as T;
  }

  /**
   * Sums x over the dims in which the shape it was broadcast from is 1 or missing: the gradient of broadcasting.
   * @param x [*] f32|f16|bf16
   * @param options.shape dims
   * @returns y =x
   */
  sumTo(x: T, options: { shape: readonly number[] }): T {
    return this.#sink.run(OPS.sumTo, [x], options) as T;
  }

  /**
   * Repeats x along the dims in which it is 1 or which it lacks.
   * @param x [*] f32|f16|bf16
   * @param options.shape dims
   * @returns y =x
   */
  broadcastTo(x: T, options: { shape: readonly number[] }): T {
    return this.#sink.run(OPS.broadcastTo, [x], options) as T;
  }

  /**
   * Gradient of softmax from its output: scale * y * (dy - sum(dy * y)).
   * @param y [...,V] f32
   * @param dy [...,V] f32
   * @param options.scale f32, default 1
   * @returns [...,V] f32
   */
  softmaxGrad(y: T, dy: T, options: { scale?: number } = {}): T {
    return this.#sink.run(OPS.softmaxGrad, [y, dy], options) as T;
  }

  /**
   * Gradient of l2_normalize at x; where |x| <= eps the norm counts as constant.
   * @param x [...,C] f32
   * @param dy [...,C] f32
   * @param options.eps f32, default 1e-12
   * @returns [...,C] f32
   */
  l2NormalizeGrad(x: T, dy: T, options: { eps?: number } = {}): T {
    return this.#sink.run(OPS.l2NormalizeGrad, [x, dy], options) as T;
  }

  /**
   * Adds the rows of dy to the rows idx of dTable, in place, in the order of idx; an index outside [0, V) is a late index error.
   * @param idx [...] i32
   * @param dy [...,C] f32
   * @param dTable [V,C] f32, changed in place
   */
  embeddingGrad(idx: T, dy: T, dTable: T): void {
    this.#sink.run(OPS.embeddingGrad, [idx, dy, dTable], {});
  }

  /**
   * Overwrites the rows idx of dst with the rows of src, in place (the last of equal indices stays); an index outside [0, V) is a late index error.
   * @param dst [V,C] f32, changed in place
   * @param idx [n] i32
   * @param src [n,C] f32
   */
  scatterRows(dst: T, idx: T, src: T): void {
    this.#sink.run(OPS.scatterRows, [dst, idx, src], {});
  }

  /**
   * How often each of 0..n-1 occurs in idx, as f32; an index outside is a late index error.
   * @param idx [...] i32
   * @param options.n i32
   * @returns [a.n] f32
   */
  bincount(idx: T, options: { n: number }): T {
    return this.#sink.run(OPS.bincount, [idx], options) as T;
  }

  /**
   * Gradient of interpolate with respect to its input [B, h, w, C].
   * @param dy [B,oh,ow,C] f32
   * @param options.mode area | bicubic | nearest
   * @param options.h i32
   * @param options.w i32
   * @returns [B,a.h,a.w,C] f32
   */
  interpolateGrad(dy: T, options: { mode: 'area' | 'bicubic' | 'nearest'; h: number; w: number }): T {
    return this.#sink.run(OPS.interpolateGrad, [dy], options) as T;
  }

  /**
   * Puts stride - 1 zeros between the pixels of an NHWC map: [B, (h-1)*stride+1, (w-1)*stride+1, C]; the gradient of a strided convolution is a plain one of it.
   * @param x [B,h,w,C] f32|f16|bf16
   * @param options.stride i32
   * @returns [B,(h-1)*a.stride+1,(w-1)*a.stride+1,C] =x
   */
  dilate(x: T, options: { stride: number }): T {
    return this.#sink.run(OPS.dilate, [x], options) as T;
  }

  /**
   * residual + gate * x; gate is row gateAt of [B,G,N], one row per leading B of x (B may be 1).
   * @param x [B,l,N] f32|f16|bf16
   * @param gate [Bg,G,N] f32
   * @param options.residual [B,l,N] f32|f16|bf16
   * @param options.gateAt i32, default 0
   * @param options.dtype dtype, default f32
   * @returns [B,l,N] @dtype
   */
  gateResidual(x: T, gate: T, options: { gateAt?: number; dtype?: DType; residual?: T | undefined } = {}): T {
    return this.#sink.run(OPS.gateResidual, [x, gate, options.residual], options) as T;
  }

  /**
   * Gradient of gate_residual: dx = gate * dy; dGate, where given, gets sum over l (and over the batch where it has one row) of x * dy added to row gateAt.
   * @param x [B,l,N] f32|f16|bf16
   * @param dy [B,l,N] f32|f16|bf16
   * @param gate [Bg,G,N] f32
   * @param options.dGate [Bg,G,N] f32, changed in place
   * @param options.gateAt i32, default 0
   * @returns [B,l,N] =x
   */
  gateResidualGrad(x: T, dy: T, gate: T, options: { gateAt?: number; dGate?: T | undefined } = {}): T {
    return this.#sink.run(OPS.gateResidualGrad, [x, dy, gate, options.dGate], options) as T;
  }

  /**
   * Adds dy^T x to dw and the column sums of dy to dbias, in place, times alpha.
   * @param x [B,l,K] f32|f16|bf16
   * @param dy [B,l,N] f32|f16|bf16
   * @param dw [N,K] f32, changed in place
   * @param options.dbias [N] f32, changed in place
   * @param options.alpha f32, default 1
   */
  linearGradW(x: T, dy: T, dw: T, options: { alpha?: number; dbias?: T | undefined } = {}): void {
    this.#sink.run(OPS.linearGradW, [x, dy, dw, options.dbias], options);
  }

  /**
   * Gradient of conv2d with respect to its OIHW weight and bias, added in place, times alpha; x is the convolution's input, dy [B, h', w', O] the gradient of its output.
   * @param x [B,h,w,I] f32|f16|bf16
   * @param dy [B,oh,ow,O] f32|f16|bf16
   * @param dw [O,I,kh,kw] f32, changed in place
   * @param options.dbias [O] f32, changed in place
   * @param options.stride i32, default 1
   * @param options.padBefore i32, default 1
   * @param options.padAfter i32, default 1
   * @param options.upsample i32, default 1
   * @param options.alpha f32, default 1
   */
  conv2dGradW(x: T, dy: T, dw: T, options: { stride?: number; padBefore?: number; padAfter?: number; upsample?: number; alpha?: number; dbias?: T | undefined } = {}): void {
    this.#sink.run(OPS.conv2dGradW, [x, dy, dw, options.dbias], options);
  }

  /**
   * Gradient of attention (without caches) with respect to qkv, from its output y, the gradient dy and lse; probabilities are computed again, block by block. dScaleMul gets its gradient added.
   * @param qkv [B,l,3*a.heads*a.width] f32|f16|bf16
   * @param y [B,l,a.heads*a.width] =qkv
   * @param dy [B,l,a.heads*a.width] =qkv
   * @param lse [B,a.heads,l] f32
   * @param options.scaleMul [a.heads] f32
   * @param options.visible [l] i32
   * @param options.dScaleMul [a.heads] f32, changed in place
   * @param options.heads i32
   * @param options.width i32
   * @param options.scale f32, default 1
   * @param options.maxScaleMul f32, default 4.605170185988092
   * @returns [B,l,3*a.heads*a.width] =qkv
   */
  attentionGrad(qkv: T, y: T, dy: T, lse: T, options: { heads: number; width: number; scale?: number; maxScaleMul?: number; scaleMul?: T | undefined; visible?: T | undefined; dScaleMul?: T | undefined }): T {
    return this.#sink.run(OPS.attentionGrad, [qkv, y, dy, lse, options.scaleMul, options.visible, options.dScaleMul], options) as T;
  }

  /**
   * Gradient of layer_norm with respect to x; dMod, where given, gets dy * norm(x) added to row scaleAt and dy to row shiftAt, summed over l (and over the batch where it has one row).
   * @param x [B,l,C] f32|f16|bf16
   * @param dy [B,l,C] f32|f16|bf16
   * @param options.mod [Bm,G,C] f32
   * @param options.dMod [Bm,G,C] f32, changed in place
   * @param options.eps f32, default 0.000001
   * @param options.scaleAt i32, default 0
   * @param options.shiftAt i32, default 1
   * @returns [B,l,C] =x
   */
  layerNormGrad(x: T, dy: T, options: { eps?: number; scaleAt?: number; shiftAt?: number; mod?: T | undefined; dMod?: T | undefined } = {}): T {
    return this.#sink.run(OPS.layerNormGrad, [x, dy, options.mod, options.dMod], options) as T;
  }

  /**
   * Gradient of group_norm (and of the SiLU after it) with respect to x; dGamma and dBeta get theirs added.
   * @param x [B,h,w,C] f32|f16|bf16
   * @param dy [B,h,w,C] f32|f16|bf16
   * @param gamma [C] f32
   * @param beta [C] f32
   * @param options.dGamma [C] f32, changed in place
   * @param options.dBeta [C] f32, changed in place
   * @param options.groups i32, default 32
   * @param options.eps f32, default 0.000001
   * @param options.silu bool, default false
   * @returns [B,h,w,C] =x
   */
  groupNormGrad(x: T, dy: T, gamma: T, beta: T, options: { groups?: number; eps?: number; silu?: boolean; dGamma?: T | undefined; dBeta?: T | undefined } = {}): T {
    return this.#sink.run(OPS.groupNormGrad, [x, dy, gamma, beta, options.dGamma, options.dBeta], options) as T;
  }

  /**
   * Per row: -(1 - labelSmooth) log p[target] - labelSmooth / V * sum(log p), p = softmax(logits); no probability is stored. A target outside [0, V) is a late index error.
   * @param logits [...,V] f32|f16|bf16
   * @param target [...] i32
   * @param options.labelSmooth f32, default 0
   * @returns [...] f32
   */
  crossEntropy(logits: T, target: T, options: { labelSmooth?: number } = {}): T {
    return this.#sink.run(OPS.crossEntropy, [logits, target], options) as T;
  }

  /**
   * Gradient of cross_entropy with respect to the logits; dLoss is the gradient of each row's loss.
   * @param logits [...,V] f32|f16|bf16
   * @param target [...] i32
   * @param dLoss [...] f32
   * @param options.labelSmooth f32, default 0
   * @returns [...,V] =logits
   */
  crossEntropyGrad(logits: T, target: T, dLoss: T, options: { labelSmooth?: number } = {}): T {
    return this.#sink.run(OPS.crossEntropyGrad, [logits, target, dLoss], options) as T;
  }

  /**
   * Mean over all elements of |x - y| (l1) or (x - y)^2 (l2), summed in f64.
   * @param x [...] f32
   * @param y [...] f32
   * @param options.kind l1 | l2
   * @returns [1] f32
   */
  pairLoss(x: T, y: T, options: { kind: 'l1' | 'l2' }): T {
    return this.#sink.run(OPS.pairLoss, [x, y], options) as T;
  }

  /**
   * Gradient of pair_loss with respect to x times dLoss; that of y is its negative. l1 has slope 0 at 0.
   * @param x [...] f32
   * @param y [...] f32
   * @param dLoss [1] f32
   * @param options.kind l1 | l2
   * @returns [...] f32
   */
  pairLossGrad(x: T, y: T, dLoss: T, options: { kind: 'l1' | 'l2' }): T {
    return this.#sink.run(OPS.pairLossGrad, [x, y, dLoss], options) as T;
  }

  /**
   * Per segment [offsets[i], offsets[i+1]) of a flat gradient: the sum of squares of its finite elements (in f64) and the number of those that are not finite.
   * @param g [n] f32|f16|bf16
   * @param offsets [s] i32
   * @returns [s-1,2] f32
   */
  gradStats(g: T, offsets: T): T {
    return this.#sink.run(OPS.gradStats, [g, offsets], {}) as T;
  }

  /**
   * One Adam step on a flat range, in place: g = grad * invScale, clipped by min(1, maxNorm / (norm + 1e-6)) where maxNorm > 0 (norm = sqrt(stats[0]) * invScale); nothing is changed where stats[1], the number of non-finite gradients, is not 0. decoupled: p *= 1 - lr * weightDecay first (AdamW), else g += weightDecay * p (Adam). m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr / (1-b1^step) * m / (sqrt(v) / sqrt(1-b2^step) + eps); b1 and b2 are taken as decimals of 7 places (1 - 0.999 is 0.001). maxNorm needs stats. master: f32 copy that is updated in place of a 16-bit param and rounded to it. dynamic, where given, holds (lr, weightDecay, step, invScale) instead of the attributes.
   * @param param [n] f32|f16|bf16, changed in place
   * @param grad [n] f32|f16|bf16
   * @param m [n] f32, changed in place
   * @param v [n] f32, changed in place
   * @param options.master [n] f32, changed in place
   * @param options.stats [2] f32
   * @param options.dynamic [4] f32
   * @param options.lr f32
   * @param options.beta1 f32, default 0.9
   * @param options.beta2 f32, default 0.999
   * @param options.eps f32, default 1e-8
   * @param options.weightDecay f32, default 0
   * @param options.decoupled bool, default true
   * @param options.step i32
   * @param options.invScale f32, default 1
   * @param options.maxNorm f32, default 0
   */
  adamw(param: T, grad: T, m: T, v: T, options: { lr: number; beta1?: number; beta2?: number; eps?: number; weightDecay?: number; decoupled?: boolean; step: number; invScale?: number; maxNorm?: number; master?: T | undefined; stats?: T | undefined; dynamic?: T | undefined }): void {
    this.#sink.run(OPS.adamw, [param, grad, m, v, options.master, options.stats, options.dynamic], options);
  }

  /**
   * adamw with both moments as 8-bit codes in blocks of 256 elements: m signed and v unsigned, with s = c - 128, code c of a block means scale * sign(s) * (s / 127)^2 for m and scale * (c / 255)^2 for v, scale the largest magnitude of the block; the new value takes the nearest code, v at least 1 where v > 0. The step uses the moments before they are rounded to codes. dynamic as in adamw.
   * @param param [n] f32|f16|bf16, changed in place
   * @param grad [n] f32|f16|bf16
   * @param m [n] u8, changed in place
   * @param v [n] u8, changed in place
   * @param mScale [ceil(n/256)] f32, changed in place
   * @param vScale [ceil(n/256)] f32, changed in place
   * @param options.master [n] f32, changed in place
   * @param options.stats [2] f32
   * @param options.dynamic [4] f32
   * @param options.lr f32
   * @param options.beta1 f32, default 0.9
   * @param options.beta2 f32, default 0.999
   * @param options.eps f32, default 1e-8
   * @param options.weightDecay f32, default 0
   * @param options.decoupled bool, default true
   * @param options.step i32
   * @param options.invScale f32, default 1
   * @param options.maxNorm f32, default 0
   */
  adamw8(param: T, grad: T, m: T, v: T, mScale: T, vScale: T, options: { lr: number; beta1?: number; beta2?: number; eps?: number; weightDecay?: number; decoupled?: boolean; step: number; invScale?: number; maxNorm?: number; master?: T | undefined; stats?: T | undefined; dynamic?: T | undefined }): void {
    this.#sink.run(OPS.adamw8, [param, grad, m, v, mScale, vScale, options.master, options.stats, options.dynamic], options);
  }

  /**
   * One SGD step on a flat range, in place, with the unscaling, clipping and skipping of adamw: g += weightDecay * p; velocity = momentum * velocity + g; p -= lr * (nesterov ? g + momentum * velocity : velocity). dynamic as in adamw (its step is not used).
   * @param param [n] f32|f16|bf16, changed in place
   * @param grad [n] f32|f16|bf16
   * @param options.velocity [n] f32, changed in place
   * @param options.master [n] f32, changed in place
   * @param options.stats [2] f32
   * @param options.dynamic [4] f32
   * @param options.lr f32
   * @param options.momentum f32, default 0
   * @param options.nesterov bool, default false
   * @param options.weightDecay f32, default 0
   * @param options.invScale f32, default 1
   * @param options.maxNorm f32, default 0
   */
  sgd(param: T, grad: T, options: { lr: number; momentum?: number; nesterov?: boolean; weightDecay?: number; invScale?: number; maxNorm?: number; velocity?: T | undefined; master?: T | undefined; stats?: T | undefined; dynamic?: T | undefined }): void {
    this.#sink.run(OPS.sgd, [param, grad, options.velocity, options.master, options.stats, options.dynamic], options);
  }
}
