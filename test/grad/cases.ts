// Small calls of every op that has a rule, with the inputs that may be absent, broadcasting, and odd sizes.
import type { GradCase, GradInput } from './kit.js';

const of = (...shape: number[]): GradInput => ({ shape });
const within = (lo: number, hi: number, ...shape: number[]): GradInput => ({ shape, range: [lo, hi] });
const linearW = (n: number, k: number): GradInput => ({ shape: [n, k], pack: 'linear_pack' });
const convW = (o: number, i: number, k: number): GradInput => ({ shape: [o, i, k, k], pack: 'conv_pack' });
const ints = (shape: number[], ...values: number[]): GradInput => ({ shape, ints: values });

const unary: GradCase[] = (
  [
    ['silu', -3, 3],
    ['gelu', -3, 3],
    ['exp', -2, 2],
    ['log', 0.3, 3],
    ['sqrt', 0.3, 3],
    ['rsqrt', 0.3, 3],
    ['tanh', -2, 2],
    ['sigmoid', -4, 4],
    ['abs', -1, 1],
    ['neg', -1, 1],
    ['square', -2, 2],
    ['recip', 0.4, 2],
  ] as const
).map(([fn, lo, hi]) => ({ op: 'unary', inputs: { x: within(lo, hi, 3, 11) }, attrs: { fn } }));

const SHAPES: readonly (readonly [readonly number[], readonly number[]])[] = [
  [
    [2, 3, 5],
    [2, 3, 5],
  ],
  [[2, 3, 5], [5]],
  [
    [2, 1, 5],
    [4, 1],
  ],
  [
    [1, 6, 4],
    [3, 6, 4],
  ],
  [[7], [1]],
];

const binary: GradCase[] = SHAPES.flatMap(([a, b]) =>
  (['add', 'sub', 'mul', 'div', 'max', 'min'] as const).map((fn): GradCase => {
    const positive = fn === 'div' ? ([0.5, 2] as const) : undefined;
    return { op: 'binary', inputs: { a: { shape: a, range: positive }, b: { shape: b, range: positive } }, attrs: { fn } };
  }),
);

const linear: GradCase[] = [
  { op: 'linear', inputs: { x: of(2, 3, 5), w: linearW(7, 5), bias: of(7) }, attrs: { n: 7 } },
  { op: 'linear', inputs: { x: of(1, 1, 18), w: linearW(17, 18) }, attrs: { n: 17 } },
  { op: 'linear', inputs: { x: { ...of(2, 2, 4), fixed: true }, w: linearW(3, 4), bias: of(3) }, attrs: { n: 3 } },
  { op: 'linear', inputs: { x: of(2, 2, 4), w: { ...linearW(3, 4), fixed: true }, bias: of(3) }, attrs: { n: 3 } },
  ...(['none', 'gelu', 'silu'] as const).map(
    (act): GradCase => ({
      op: 'linear',
      inputs: { x: of(2, 3, 6), w: linearW(5, 6), bias: of(5), gate: of(2, 3, 5), residual: of(2, 3, 5) },
      attrs: { n: 5, act, gateAt: 2 },
    }),
  ),
  { op: 'linear', inputs: { x: of(3, 2, 4), w: linearW(6, 4), gate: of(1, 2, 6) }, attrs: { n: 6, gateAt: 1 } },
  { op: 'linear', inputs: { x: of(3, 2, 4), w: linearW(6, 4), residual: of(3, 2, 6) }, attrs: { n: 6, act: 'silu' } },
  { op: 'matmul', inputs: { a: of(2, 3, 4), b: of(2, 4, 5) }, attrs: { alpha: 0.5 } },
  { op: 'matmul', inputs: { a: of(2, 3, 4), b: of(2, 6, 4) }, attrs: { transB: true, alpha: -1.5 } },
  { op: 'matmul', inputs: { a: of(1, 2, 4), b: { ...of(1, 4, 3), fixed: true } } },
];

const conv: GradCase[] = [
  { op: 'conv2d', inputs: { x: of(2, 5, 4, 3), w: convW(4, 3, 3), bias: of(4) }, attrs: { o: 4 } },
  { op: 'conv2d', inputs: { x: of(1, 4, 6, 3), w: convW(5, 3, 3), bias: of(5) }, attrs: { o: 5, stride: 2, padBefore: 0 } },
  { op: 'conv2d', inputs: { x: of(1, 5, 4, 2), w: convW(3, 2, 3) }, attrs: { o: 3, stride: 2, padBefore: 0 } },
  { op: 'conv2d', inputs: { x: of(1, 5, 5, 2), w: convW(3, 2, 3) }, attrs: { o: 3, stride: 2 } },
  { op: 'conv2d', inputs: { x: of(2, 3, 3, 4), w: convW(3, 4, 1), bias: of(3) }, attrs: { o: 3, kernel: 1, padBefore: 0, padAfter: 0 } },
  { op: 'conv2d', inputs: { x: of(1, 3, 2, 3), w: convW(4, 3, 3), bias: of(4) }, attrs: { o: 4, upsample: 2 } },
  {
    op: 'conv2d',
    inputs: { x: of(1, 4, 4, 3), w: convW(3, 3, 3), bias: of(3), residual: of(1, 4, 4, 3) },
    attrs: { o: 3, alpha: 0.25, beta: 0.75 },
  },
  { op: 'conv2d', inputs: { x: of(1, 4, 4, 3), w: convW(3, 3, 3), residual: of(1, 4, 4, 3) }, attrs: { o: 3 } },
  { op: 'conv2d', inputs: { x: of(2, 5, 5, 4), w: convW(6, 4, 3), bias: of(6) }, attrs: { o: 6, algo: 'winograd2' }, tol: 1e-4 },
  { op: 'conv2d', inputs: { x: of(1, 6, 5, 4), w: convW(6, 4, 3), bias: of(6) }, attrs: { o: 6, algo: 'winograd4' }, tol: 3e-4 },
  { op: 'conv2d', inputs: { x: { ...of(1, 4, 4, 2), fixed: true }, w: convW(3, 2, 3), bias: of(3) }, attrs: { o: 3 } },
  { op: 'conv2d', inputs: { x: of(1, 4, 4, 2), w: { ...convW(3, 2, 3), fixed: true }, bias: of(3) }, attrs: { o: 3, alpha: 0.5 } },
];

const norm: GradCase[] = [
  { op: 'layer_norm', inputs: { x: of(2, 3, 9) } },
  { op: 'layer_norm', inputs: { x: of(2, 3, 8), mod: of(2, 6, 8) }, attrs: { scaleAt: 2, shiftAt: 4 } },
  { op: 'layer_norm', inputs: { x: of(2, 3, 7), mod: of(1, 2, 7) } },
  { op: 'layer_norm', inputs: { x: { ...of(2, 3, 7), fixed: true }, mod: of(1, 2, 7) } },
  { op: 'group_norm', inputs: { x: of(2, 3, 2, 6), gamma: of(6), beta: of(6) }, attrs: { groups: 3 } },
  { op: 'group_norm', inputs: { x: of(1, 2, 3, 8), gamma: of(8), beta: of(8) }, attrs: { groups: 2, silu: true } },
  { op: 'group_norm', inputs: { x: { ...of(1, 2, 3, 4), fixed: true }, gamma: of(4), beta: of(4) }, attrs: { groups: 2 } },
  { op: 'gate_residual', inputs: { x: of(2, 3, 5), gate: of(2, 4, 5), residual: of(2, 3, 5) }, attrs: { gateAt: 3 } },
  { op: 'gate_residual', inputs: { x: of(2, 3, 5), gate: of(1, 2, 5) } },
  { op: 'gate_residual', inputs: { x: of(2, 3, 5), gate: { ...of(2, 1, 5), fixed: true } } },
  { op: 'softmax', inputs: { x: of(3, 7) }, attrs: { scale: 1.5 } },
  { op: 'softmax', inputs: { x: of(2, 2, 5) } },
  { op: 'l2_normalize', inputs: { x: of(4, 5) } },
  { op: 'l2_normalize', inputs: { x: of(3, 4) }, attrs: { eps: 10 } },
];

const visible = ints([6], 1, 5, 5, 5, 5, 6);
const attention: GradCase[] = [
  { op: 'attention', inputs: { qkv: of(2, 4, 3 * 2 * 3) }, attrs: { heads: 2, width: 3, scale: 0.6 } },
  { op: 'attention', inputs: { qkv: of(1, 6, 3 * 4), visible }, attrs: { heads: 1, width: 4, scale: 0.5 } },
  { op: 'attention', inputs: { qkv: of(2, 6, 3 * 2 * 4), scaleMul: within(0.5, 2, 2), visible }, attrs: { heads: 2, width: 4 }, tol: 1e-4 },
  { op: 'attention', inputs: { qkv: of(1, 3, 3 * 2 * 4), scaleMul: { ...within(0, 1, 2), fixed: true } }, attrs: { heads: 2, width: 4 } },
  { op: 'attention', inputs: { qkv: of(1, 3, 3 * 2 * 4), scaleMul: within(1, 2, 2) }, attrs: { heads: 2, width: 4, maxScaleMul: 1.5 } },
];

const layout: GradCase[] = [
  { op: 'reshape', inputs: { x: of(2, 6) }, attrs: { shape: [3, 4] } },
  { op: 'permute', inputs: { x: of(2, 3, 4) }, attrs: { order: [2, 0, 1] } },
  { op: 'permute', inputs: { x: of(2, 3, 2, 2) }, attrs: { order: [0, 3, 1, 2] } },
  { op: 'slice', inputs: { x: of(2, 5, 3) }, attrs: { axis: 1, start: 2, size: 2 } },
  { op: 'slice', inputs: { x: of(1, 5, 3) }, attrs: { axis: 1, start: 1, size: 3 } },
  { op: 'slice', inputs: { x: of(6) }, attrs: { axis: 0, start: 5, size: 1 } },
  { op: 'concat', inputs: { a: of(2, 3, 2), b: of(2, 2, 2) }, attrs: { axis: 1 } },
  { op: 'concat', inputs: { a: of(4), b: of(3) }, attrs: { axis: 0 } },
  { op: 'concat', inputs: { a: { ...of(4), fixed: true }, b: of(3) }, attrs: { axis: 0 } },
  { op: 'embedding', inputs: { table: of(5, 3), idx: ints([2, 3], 4, 0, 4, 1, 4, 0) } },
  { op: 'interpolate', inputs: { x: of(1, 4, 4, 2) }, attrs: { mode: 'area', outH: 3, outW: 2 } },
  { op: 'interpolate', inputs: { x: of(2, 3, 2, 2) }, attrs: { mode: 'bicubic', outH: 5, outW: 7 } },
  { op: 'interpolate', inputs: { x: of(1, 2, 3, 2) }, attrs: { mode: 'nearest', outH: 4, outW: 6 } },
  { op: 'reduce', inputs: { x: of(3, 4, 5) }, attrs: { fn: 'sum' } },
  { op: 'reduce', inputs: { x: of(3, 4, 5) }, attrs: { fn: 'mean', axis: 1 } },
  { op: 'reduce', inputs: { x: of(6) }, attrs: { fn: 'mean', axis: 0 } },
  { op: 'sum_to', inputs: { x: of(2, 3, 4) }, attrs: { shape: [3, 1] } },
  { op: 'sum_to', inputs: { x: of(2, 3) }, attrs: { shape: [1] } },
  { op: 'broadcast_to', inputs: { x: of(3, 1) }, attrs: { shape: [2, 3, 4] } },
];

const loss: GradCase[] = [
  { op: 'cross_entropy', inputs: { logits: of(2, 3, 7), target: ints([2, 3], 0, 6, 3, 2, 2, 5) } },
  { op: 'cross_entropy', inputs: { logits: of(4, 5), target: ints([4], 4, 0, 1, 1) }, attrs: { labelSmooth: 0.1 } },
  { op: 'pair_loss', inputs: { x: of(3, 5), y: of(3, 5) }, attrs: { kind: 'l1' } },
  { op: 'pair_loss', inputs: { x: of(2, 7), y: of(2, 7) }, attrs: { kind: 'l2' } },
  { op: 'pair_loss', inputs: { x: of(2, 7), y: { ...of(2, 7), fixed: true } }, attrs: { kind: 'l2' } },
];

const affine: GradCase[] = [
  { op: 'affine', inputs: { x: of(3, 5) }, attrs: { mul: -2.5, add: 0.5 } },
  { op: 'affine', inputs: { x: of(3, 5) }, attrs: { add: 0.5 } },
  { op: 'affine', inputs: { x: of(4, 5) }, attrs: { mul: 2, lo: -0.7, hi: 0.8 } },
];

export const CASES: readonly GradCase[] = [...unary, ...binary, ...affine, ...linear, ...conv, ...norm, ...attention, ...layout, ...loss];
