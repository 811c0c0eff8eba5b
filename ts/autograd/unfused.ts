// Fused ops written with simpler ones. Values and gradients agree with those of the fused op up to rounding.
import type { Graph, Tensor } from '../engine/index.js';

type Dims3 = readonly [number, number, number];
type Dims4 = readonly [number, number, number, number];

const sizeOf = (shape: readonly number[]) => shape.reduce((n, d) => n * d, 1);

export interface LinearOptions {
  readonly n: number;
  readonly act?: 'none' | 'gelu' | 'silu';
  readonly bias?: Tensor;
  readonly gate?: Tensor;
  readonly gateAt?: number;
  readonly residual?: Tensor;
}

/** linear: x W^T, then bias, activation, gate and residual. */
export function linear(g: Graph, x: Tensor, w: Tensor, o: LinearOptions): Tensor {
  const { ops } = g;
  return g.scope(() => {
    let y = ops.linear(x, w, { n: o.n });
    if (o.bias) y = ops.binary(y, o.bias, { fn: 'add' });
    if (o.act && o.act !== 'none') y = ops.unary(y, { fn: o.act });
    if (o.gate) return gateResidual(g, y, o.gate, o);
    return o.residual ? ops.binary(y, o.residual, { fn: 'add' }) : y;
  });
}

/** gate_residual: row gateAt of the gate times x, plus residual. */
export function gateResidual(g: Graph, x: Tensor, gate: Tensor, o: { readonly gateAt?: number; readonly residual?: Tensor }): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const row = ops.slice(gate, { axis: 1, start: o.gateAt ?? 0, size: 1 });
    const y = ops.binary(x, row, { fn: 'mul' });
    return o.residual ? ops.binary(y, o.residual, { fn: 'add' }) : y;
  });
}

export interface ConvOptions {
  readonly o: number;
  readonly kernel?: number;
  readonly stride?: number;
  readonly padBefore?: number;
  readonly padAfter?: number;
  readonly upsample?: number;
  readonly alpha?: number;
  readonly beta?: number;
  readonly bias?: Tensor;
  readonly residual?: Tensor;
}

/** conv2d: resampling, plain convolution (direct packing), bias, factor, residual. */
export function conv2d(g: Graph, x: Tensor, w: Tensor, options: ConvOptions): Tensor {
  const { ops } = g;
  const { bias, residual, alpha = 1, beta = 1, upsample = 1, ...plain } = options;
  return g.scope(() => {
    const [, h, width] = x.shape as Dims4;
    const up = upsample === 1 ? x : ops.interpolate(x, { mode: 'nearest', outH: h * upsample, outW: width * upsample });
    let y = ops.conv2d(up, w, plain);
    if (bias) y = ops.binary(y, bias, { fn: 'add' });
    y = ops.affine(y, { mul: alpha });
    return residual ? ops.binary(y, ops.affine(residual, { mul: beta }), { fn: 'add' }) : y;
  });
}

/** (x - mean) / sqrt(variance + eps) over the last of three dims. */
function normalized(g: Graph, x: Tensor, eps: number): Tensor {
  const { ops } = g;
  const [a, b] = x.shape as Dims3;
  const mean = (t: Tensor) => ops.reshape(ops.reduce(t, { fn: 'mean', axis: 2 }), { shape: [a, b, 1] });
  const centred = ops.binary(x, mean(x), { fn: 'sub' });
  const variance = mean(ops.unary(centred, { fn: 'square' }));
  return ops.binary(centred, ops.unary(ops.affine(variance, { add: eps }), { fn: 'rsqrt' }), { fn: 'mul' });
}

/** layer_norm: normalised rows, times 1 + scale, plus shift. */
export function layerNorm(
  g: Graph,
  x: Tensor,
  o: { readonly mod?: Tensor; readonly eps?: number; readonly scaleAt?: number; readonly shiftAt?: number } = {},
): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const y = normalized(g, x, o.eps ?? 1e-6);
    if (!o.mod) return y;
    const row = (start: number) => ops.slice(o.mod!, { axis: 1, start, size: 1 });
    const scaled = ops.binary(y, ops.affine(row(o.scaleAt ?? 0), { add: 1 }), { fn: 'mul' });
    return ops.binary(scaled, row(o.shiftAt ?? 1), { fn: 'add' });
  });
}

/** group_norm: groups as rows, normalised, then gamma, beta and SiLU. */
export function groupNorm(
  g: Graph,
  x: Tensor,
  gamma: Tensor,
  beta: Tensor,
  o: { readonly groups?: number; readonly eps?: number; readonly silu?: boolean } = {},
): Tensor {
  const { ops } = g;
  const groups = o.groups ?? 32;
  return g.scope(() => {
    const [b, h, w, c] = x.shape as Dims4;
    const n = c / groups;
    const rows = ops.permute(ops.reshape(x, { shape: [b, h * w, groups, n] }), { order: [0, 2, 1, 3] });
    const y = normalized(g, ops.reshape(rows, { shape: [b, groups, h * w * n] }), o.eps ?? 1e-6);
    const back = ops.permute(ops.reshape(y, { shape: [b, groups, h * w, n] }), { order: [0, 2, 1, 3] });
    const scaled = ops.binary(ops.reshape(back, { shape: [b, h, w, c] }), gamma, { fn: 'mul' });
    const shifted = ops.binary(scaled, beta, { fn: 'add' });
    return o.silu ? ops.unary(shifted, { fn: 'silu' }) : shifted;
  });
}

/** l2_normalize: x / max(|x|, eps). */
export function l2Normalize(g: Graph, x: Tensor, o: { readonly eps?: number } = {}): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const axis = x.shape.length - 1;
    const squares = ops.reduce(ops.unary(x, { fn: 'square' }), { fn: 'sum', axis });
    const norm = ops.reshape(ops.unary(squares, { fn: 'sqrt' }), { shape: x.shape.with(axis, 1) });
    const eps = g.tensor(Float32Array.of(o.eps ?? 1e-12), [1]);
    return ops.binary(x, ops.binary(norm, eps, { fn: 'max' }), { fn: 'div' });
  });
}

export interface AttentionOptions {
  readonly heads: number;
  readonly width: number;
  readonly scale?: number;
  readonly maxScaleMul?: number;
  readonly scaleMul?: Tensor;
  /** Number of keys each query sees. */
  readonly visible?: readonly number[];
}

/** attention: the products, a mask and the softmax apart. */
export function attention(g: Graph, qkv: Tensor, o: AttentionOptions): Tensor {
  const { ops } = g;
  const { heads, width } = o;
  return g.scope(() => {
    const [b, l] = qkv.shape as Dims3;
    const parts = ops.permute(ops.reshape(qkv, { shape: [b, l, 3, heads, width] }), { order: [2, 0, 3, 1, 4] });
    const part = (start: number) => ops.reshape(ops.slice(parts, { axis: 0, start, size: 1 }), { shape: [b, heads, l, width] });
    let [q, k] = [part(0), part(1)];
    if (o.scaleMul) {
      const bound = g.tensor(Float32Array.of(o.maxScaleMul ?? Math.log(100)), [1]);
      const mul = ops.unary(ops.binary(o.scaleMul, bound, { fn: 'min' }), { fn: 'exp' });
      q = ops.binary(l2Normalize(g, q), ops.reshape(mul, { shape: [heads, 1, 1] }), { fn: 'mul' });
      k = l2Normalize(g, k);
    }
    const flat = (t: Tensor) => ops.reshape(t, { shape: [b * heads, l, width] });
    let scores = ops.matmul(flat(q), flat(k), { transB: true, alpha: o.scale ?? 1 });
    if (o.visible) scores = ops.binary(scores, maskOf(g, o.visible), { fn: 'add' });
    const y = ops.matmul(ops.softmax(scores), flat(part(2)));
    const joined = ops.permute(ops.reshape(y, { shape: [b, heads, l, width] }), { order: [0, 2, 1, 3] });
    return ops.reshape(joined, { shape: [b, l, heads * width] });
  });
}

/** 0 for the keys a query sees, -inf for the others, [l, l]. */
function maskOf(g: Graph, visible: readonly number[]): Tensor {
  const l = visible.length;
  const mask = new Float32Array(l * l);
  for (const [i, seen] of visible.entries()) mask.fill(Number.NEGATIVE_INFINITY, i * l + seen, (i + 1) * l);
  return g.tensor(mask, [l, l]);
}

/** softmax without the shift that guards against overflow. */
export function softmax(g: Graph, x: Tensor, o: { readonly scale?: number } = {}): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const axis = x.shape.length - 1;
    const e = ops.unary(ops.affine(x, { mul: o.scale ?? 1 }), { fn: 'exp' });
    const sum = ops.reshape(ops.reduce(e, { fn: 'sum', axis }), { shape: x.shape.with(axis, 1) });
    return ops.binary(e, sum, { fn: 'div' });
  });
}

/** cross_entropy: the logarithm of all probabilities, weighted. */
export function crossEntropy(g: Graph, logits: Tensor, target: readonly number[], o: { readonly labelSmooth?: number } = {}): Tensor {
  const { ops } = g;
  const smooth = o.labelSmooth ?? 0;
  return g.scope(() => {
    const axis = logits.shape.length - 1;
    const v = logits.shape[axis]!;
    const weights = new Float32Array(sizeOf(logits.shape)).fill(-smooth / v);
    for (const [row, t] of target.entries()) weights[row * v + t]! -= 1 - smooth;
    const logs = ops.unary(ops.softmax(logits), { fn: 'log' });
    return ops.reduce(ops.binary(logs, g.tensor(weights, logits.shape), { fn: 'mul' }), { fn: 'sum', axis });
  });
}

/** pair_loss: mean of |x - y| or (x - y)^2. */
export function pairLoss(g: Graph, x: Tensor, y: Tensor, o: { readonly kind: 'l1' | 'l2' }): Tensor {
  const { ops } = g;
  return g.scope(() => {
    const distance = ops.unary(ops.binary(x, y, { fn: 'sub' }), { fn: o.kind === 'l1' ? 'abs' : 'square' });
    const size = sizeOf(x.shape);
    return ops.reduce(ops.reshape(distance, { shape: [1, size] }), { fn: 'mean', axis: 1 });
  });
}
