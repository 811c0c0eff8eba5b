// The kernels that are timed: op, sizes as plain numbers (bench/gpu/torch_kernels.py reads the same object), and what each must at least do.
import { type DType, dtypeSize } from '../../ts/core/dtype.js';

export interface Spec {
  readonly op: string;
  readonly dtype: DType;
  readonly [size: string]: number | string;
}

/** Least work: bytes that must cross the memory bus, and floating-point operations of tensor cores. */
export interface Work {
  readonly bytes: number;
  readonly flops: number;
}

export const PATCHES = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
const L = 680;

const num = (s: Spec, key: string): number => s[key] as number;

/** Pairs of query and key that block-causal attention over all scales visits. */
export function visiblePairs(patches: readonly number[]): number {
  let [seen, pairs] = [0, 0];
  for (const pn of patches) {
    seen += pn * pn;
    pairs += pn * pn * seen;
  }
  return pairs;
}

/** visible[i] of block-causal attention whose scales fill l tokens; all keys where l is no pyramid. */
export function visibleOf(l: number): Int32Array {
  const out: number[] = [];
  for (const pn of PATCHES) {
    const seen = out.length + pn * pn;
    if (seen <= l) out.push(...new Array<number>(pn * pn).fill(seen));
  }
  return Int32Array.from({ length: l }, (_, i) => (out.length === l ? out[i]! : l));
}

const WORK: Readonly<Record<string, (s: Spec, size: number) => Work>> = {
  copy: (s, e) => ({ bytes: 2 * num(s, 'n') * e, flops: 0 }),
  linear: (s, e) => {
    const [M, N, K] = [num(s, 'M'), num(s, 'N'), num(s, 'K')];
    return { bytes: (M * K + N * K + M * N) * e, flops: 2 * M * N * K };
  },
  linear_grad_w: (s, e) => {
    const [M, N, K] = [num(s, 'M'), num(s, 'N'), num(s, 'K')];
    return { bytes: (M * K + M * N) * e + 8 * N * K, flops: 2 * M * N * K };
  },
  attention: (s, e) => {
    const [B, l, H, c] = [num(s, 'B'), num(s, 'l'), num(s, 'H'), num(s, 'c')];
    const pairs = visibleOf(l).reduce((sum, n) => sum + n, 0);
    return { bytes: B * l * H * c * 4 * e, flops: 4 * B * H * c * pairs };
  },
  attention_grad: (s, e) => {
    const [B, l, H, c] = [num(s, 'B'), num(s, 'l'), num(s, 'H'), num(s, 'c')];
    const pairs = visibleOf(l).reduce((sum, n) => sum + n, 0);
    return { bytes: B * l * H * c * 8 * e, flops: 10 * B * H * c * pairs };
  },
  attention_step: (s, e) => {
    const [B, l, pos, H, c] = [num(s, 'B'), num(s, 'l'), num(s, 'pos'), num(s, 'H'), num(s, 'c')];
    return { bytes: B * H * c * (6 * l + 2 * pos) * e, flops: 4 * B * H * c * l * (pos + l) };
  },
  conv2d: (s, e) => {
    const [B, h, I, o, k, up] = [num(s, 'B'), num(s, 'h'), num(s, 'I'), num(s, 'o'), num(s, 'kernel'), num(s, 'upsample')];
    const out = B * (h * up) ** 2;
    return { bytes: (B * h * h * I + out * o + o * I * k * k) * e, flops: 2 * out * o * I * k * k };
  },
  group_norm: (s, e) => ({ bytes: 2 * num(s, 'B') * num(s, 'h') ** 2 * num(s, 'C') * e, flops: 0 }),
  layer_norm: (s, e) => ({ bytes: num(s, 'B') * num(s, 'l') * num(s, 'C') * (4 + e), flops: 0 }),
  vq_lookup: (s) => {
    const [N, V, C] = [num(s, 'N'), num(s, 'V'), num(s, 'C')];
    return { bytes: 4 * (N * C + V * C + N), flops: 2 * N * V * C };
  },
  sample_cfg: (s) => ({ bytes: 4 * 2 * num(s, 'B') * num(s, 'l') * num(s, 'V'), flops: 0 }),
  cross_entropy: (s, e) => ({ bytes: num(s, 'M') * num(s, 'V') * e, flops: 0 }),
  adamw: (s) => ({ bytes: 28 * num(s, 'n'), flops: 0 }),
  adamw8: (s) => ({ bytes: 16 * num(s, 'n') + num(s, 'n') / 16, flops: 0 }),
};

export function workOf(s: Spec): Work {
  const work = WORK[s.op];
  if (!work) throw new Error(`no floor is known for ${s.op}`);
  return work(s, dtypeSize(s.dtype));
}

function linears(): Spec[] {
  const specs: Spec[] = [];
  for (const [depth, rows] of [
    [16, [2, 18, 72, 512, 1360, 680 * 32, 1360 * 64]],
    [30, [2, 72, 512, 1360 * 16]],
  ] as const) {
    const C = 64 * depth;
    for (const M of rows)
      for (const [N, K] of [
        [3 * C, C],
        [4 * C, C],
        [C, 4 * C],
      ] as const)
        specs.push({ op: 'linear', dtype: 'bf16', M, N, K });
  }
  for (const dtype of ['f16', 'f32'] as const) specs.push({ op: 'linear', dtype, M: 1360, N: 4096, K: 1024 });
  return specs;
}

function attentions(): Spec[] {
  const specs: Spec[] = [];
  for (const B of [1, 64]) {
    for (const op of ['attention', 'attention_grad']) specs.push({ op, dtype: 'bf16', B, l: L, H: 16, c: 64 });
    let pos = 0;
    for (const pn of PATCHES) {
      specs.push({ op: 'attention_step', dtype: 'bf16', B: 2 * B, l: pn * pn, pos, H: 16, c: 64 });
      pos += pn * pn;
    }
  }
  for (const dtype of ['f16', 'f32'] as const) specs.push({ op: 'attention', dtype, B: 1, l: L, H: 16, c: 64 });
  return specs;
}

// The decoder's widest layers from 16x16 to 256x256 at ch 160, with the products by 1x1 and the nearest upsampling.
function convolutions(): Spec[] {
  const layers = [
    [16, 640, 640, 3, 1],
    [16, 640, 640, 1, 1],
    [16, 640, 640, 3, 2],
    [32, 320, 320, 3, 1],
    [64, 320, 320, 3, 1],
    [128, 160, 160, 3, 1],
    [128, 160, 160, 3, 2],
    [256, 160, 160, 3, 1],
    [256, 160, 3, 3, 1],
  ] as const;
  const of = (B: number, dtype: DType) =>
    layers.map(([h, I, o, kernel, upsample]): Spec => ({ op: 'conv2d', dtype, B, h, I, o, kernel, upsample }));
  return [...of(1, 'bf16'), ...of(16, 'bf16'), ...of(1, 'f32').slice(0, 1)];
}

/** VAR's shapes on a GPU: d16 and d30, batch 1 and 64 of 256x256 images. */
export function fullSpecs(): Spec[] {
  const norms: Spec[] = [];
  const maps = [
    [16, 640],
    [64, 320],
    [256, 160],
  ] as const;
  for (const B of [1, 16]) norms.push(...maps.map(([h, C]): Spec => ({ op: 'group_norm', dtype: 'bf16', B, h, C })));
  for (const B of [2, 128]) norms.push({ op: 'layer_norm', dtype: 'bf16', B, l: 256, C: 1024 });
  return [
    ...linears(),
    { op: 'linear_grad_w', dtype: 'bf16', M: L * 32, N: 4096, K: 1024 },
    { op: 'linear_grad_w', dtype: 'bf16', M: L * 32, N: 1024, K: 4096 },
    ...attentions(),
    ...convolutions(),
    ...norms,
    { op: 'vq_lookup', dtype: 'f32', N: L * 64, V: 4096, C: 32 },
    { op: 'sample_cfg', dtype: 'f32', B: 1, l: 256, V: 4096 },
    { op: 'sample_cfg', dtype: 'f32', B: 64, l: 256, V: 4096 },
    { op: 'cross_entropy', dtype: 'f32', M: L * 32, V: 4096 },
    { op: 'adamw', dtype: 'f32', n: 310_000_000 },
    { op: 'adamw8', dtype: 'f32', n: 310_000_000 },
  ];
}

/** Sizes at which a call is looked at: tiny for --smoke, large enough to reach the tiles of large products for the check by the CPU. */
const LIMITS: Readonly<Record<'smoke' | 'check', Readonly<Record<string, number>>>> = {
  smoke: { M: 35, N: 64, K: 64, B: 2, l: 5, H: 2, c: 32, h: 6, I: 32, o: 32, C: 64, V: 100, n: 1000, pos: 9 },
  check: { M: 300, N: 520, K: 1024, B: 2, l: 680, H: 2, h: 20, I: 160, o: 160, C: 640, V: 4096, n: 100_000, pos: 424 },
};

/** The same call with no size above the limits; 2 tokens stay 2. */
export function limited(s: Spec, to: 'smoke' | 'check'): Spec {
  const limits = LIMITS[to];
  const small = Object.entries(s).map(([key, v]) => [key, typeof v === 'number' && key in limits ? Math.min(v, limits[key]!) : v]);
  return { ...Object.fromEntries(small), op: s.op, dtype: s.dtype };
}

export const nameOf = (s: Spec): string =>
  `${s.op} ${Object.entries(s)
    .filter(([key]) => key !== 'op')
    .map(([key, v]) => (key === 'dtype' ? v : `${key} ${v}`))
    .join(' ')}`;
