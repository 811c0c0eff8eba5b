// Shape rules and checks that a pattern cannot say, by the names ops.json gives them. Kernels rely on every one of them.
import { checkShape } from './check.js';
import type { DType } from './dtype.js';
import { ArgumentError } from './errors.js';
import { dims, floating, input, modulationRows, num, PANEL, panels, range, refuse } from './rules-kit.js';
import { shapeFailure, showShape, sizeOf } from './shapes.js';
import type { RuleContext } from './types.js';

export * from './rules-grad.js';

export function attrShape(c: RuleContext): readonly number[] {
  return [...checkShape(`[${c.op}] shape`, c.a.shape)];
}

export function reshape(c: RuleContext): readonly number[] {
  const shape = checkShape(`[${c.op}] shape`, c.a.shape);
  if (sizeOf(shape) !== sizeOf(input(c, 'x').shape)) shapeFailure(c, `cannot be reshaped to ${showShape(shape)}`);
  return [...shape];
}

export function broadcast(c: RuleContext): readonly number[] {
  const a = input(c, 'a').shape;
  const b = input(c, 'b').shape;
  const n = Math.max(a.length, b.length);
  return Array.from({ length: n }, (_, i) => {
    const da = a[i - n + a.length] ?? 1;
    const db = b[i - n + b.length] ?? 1;
    if (da !== db && da !== 1 && db !== 1) shapeFailure(c, `dim ${i - n} does not broadcast`);
    return da === 1 ? db : da;
  });
}

export function reduce(c: RuleContext): readonly number[] {
  const { shape } = input(c, 'x');
  if (shape.length === 0) shapeFailure(c, 'a scalar has no axis');
  const axis = range(c, 'axis', -shape.length, shape.length - 1);
  return shape.toSpliced(axis < 0 ? axis + shape.length : axis, 1);
}

export function reduceDtype(c: RuleContext): DType {
  return c.a.fn === 'argmax' ? 'i32' : 'f32';
}

export function permute(c: RuleContext): readonly number[] {
  const { shape } = input(c, 'x');
  const order = dims(c, 'order');
  if (order.length !== shape.length || order.toSorted((p, q) => p - q).some((v, i) => v !== i)) {
    shapeFailure(c, `order ${showShape(order)} is no permutation of its ${shape.length} dims`);
  }
  return order.map((i) => shape[i] as number);
}

export function slice(c: RuleContext): readonly number[] {
  const { shape } = input(c, 'x');
  const axis = range(c, 'axis', 0, shape.length - 1);
  const size = range(c, 'size', 1, shape[axis] as number);
  range(c, 'start', 0, (shape[axis] as number) - size);
  return shape.with(axis, size);
}

export function concat(c: RuleContext): readonly number[] {
  const a = input(c, 'a').shape;
  const b = input(c, 'b').shape;
  const axis = range(c, 'axis', 0, a.length - 1);
  if (a.length !== b.length || a.some((d, i) => i !== axis && d !== b[i])) shapeFailure(c, `they differ outside axis ${axis}`);
  return a.with(axis, (a[axis] as number) + (b[axis] as number));
}

export function writeSlice(c: RuleContext): void {
  const dst = input(c, 'dst').shape;
  const src = input(c, 'src').shape;
  const axis = range(c, 'axis', 0, dst.length - 1);
  if (dst.length !== src.length || dst.some((d, i) => i !== axis && d !== src[i])) shapeFailure(c, `they differ outside axis ${axis}`);
  const room = (dst[axis] as number) - (src[axis] as number);
  if (room < 0) shapeFailure(c, `src is longer than dst along axis ${axis}`);
  range(c, 'start', 0, room);
}

/** Lines behind the rows of K in a panel of int8: the f32 scales of its 16 columns. */
const SCALE_LINES = 4;

export function linearPack(c: RuleContext): readonly number[] {
  const { N, K } = c.d as { N: number; K: number };
  if (c.a.dtype === 'u8' && !c.a.transpose) return [panels(N), K + SCALE_LINES, PANEL];
  floating(c);
  return c.a.transpose ? [panels(K), N, PANEL] : [panels(N), K, PANEL];
}

export function linear(c: RuleContext): void {
  floating(c);
  const { K, Kw } = c.d as { K: number; Kw: number };
  const inner = input(c, 'w').dtype === 'u8' ? Kw - SCALE_LINES : Kw;
  if (inner !== K) shapeFailure(c, `K is ${K} in x and ${inner} in w`, ['x', 'w']);
  const n = range(c, 'n', 1, 0x7fffffff);
  if (c.d.P !== panels(n)) shapeFailure(c, `${n} columns need ${panels(n)} panels of 16`, ['w']);
  if (c.in.gate) modulationRows(c, 'gate', 'Bg', ['gateAt']);
}

export function layerNorm(c: RuleContext): void {
  floating(c);
  if (!(num(c, 'eps') >= 0)) refuse(c, 'eps', 'a number of at least 0');
  if (c.in.mod) modulationRows(c, 'mod', 'Bm', ['scaleAt', 'shiftAt']);
}

export function groupNorm(c: RuleContext): void {
  if (c.a.dtype !== undefined) floating(c);
  if (!(num(c, 'eps') >= 0)) refuse(c, 'eps', 'a number of at least 0');
  const groups = range(c, 'groups', 1, c.d.C as number);
  if ((c.d.C as number) % groups !== 0) shapeFailure(c, `${c.d.C} channels do not divide into ${groups} groups`, ['x']);
}

export function matmul(c: RuleContext): readonly number[] {
  const b = input(c, 'b').shape;
  const [rows, inner] = c.a.transB ? [b[1], b[2]] : [b[2], b[1]];
  if (b.length !== 3 || inner !== c.d.K) shapeFailure(c, c.a.transB ? 'b must be [B,N,K]' : 'b must be [B,K,N]');
  return [c.d.B as number, c.d.M as number, rows as number];
}

const tiles = (algo: unknown): number => (algo === 'winograd4' ? 36 : 16);

export function convPack(c: RuleContext): readonly number[] {
  floating(c);
  const { kh, kw } = c.d as { kh: number; kw: number };
  const [O, I] = (c.a.transpose ? [c.d.I, c.d.O] : [c.d.O, c.d.I]) as [number, number];
  if (c.a.algo === 'direct') return [panels(O), kh * kw * I, PANEL];
  if (kh !== 3 || kw !== 3) shapeFailure(c, `${String(c.a.algo)} needs a 3x3 kernel`);
  return [tiles(c.a.algo), panels(O), I, PANEL];
}

export function conv2d(c: RuleContext): void {
  floating(c);
  const { B, h, w, I } = c.d as { B: number; h: number; w: number; I: number };
  const o = range(c, 'o', 1, 0x7fffffff);
  const kernel = range(c, 'kernel', 1, 64);
  const stride = range(c, 'stride', 1, 64);
  const upsample = range(c, 'upsample', 1, 64);
  const pad = range(c, 'padBefore', 0, kernel) + range(c, 'padAfter', 0, kernel);
  let packed: readonly number[] = [panels(o), kernel * kernel * I, PANEL];
  if (c.a.algo !== 'direct') {
    if (kernel !== 3 || stride !== 1 || c.a.padBefore !== 1 || c.a.padAfter !== 1) {
      throw new ArgumentError(`[${c.op}] ${String(c.a.algo)} is for kernel 3, stride 1, padding 1 and 1`);
    }
    packed = [tiles(c.a.algo), panels(o), I, PANEL];
  }
  const have = input(c, 'w').shape;
  if (showShape(have) !== showShape(packed)) {
    shapeFailure(c, `${String(c.a.algo)} with kernel ${kernel}, ${I} -> ${o} channels needs w packed as ${showShape(packed)}`, ['x', 'w']);
  }
  const out = (d: number): number => Math.floor((d * upsample + pad - kernel) / stride) + 1;
  const y = [B, out(h), out(w), o];
  if (c.in.residual && showShape(c.in.residual.shape) !== showShape(y)) shapeFailure(c, `the output is ${showShape(y)}`, ['x', 'residual']);
}

const MAX_WIDTH = 4096;

export function attention(c: RuleContext): void {
  range(c, 'heads', 1, 4096);
  range(c, 'width', 1, MAX_WIDTH);
  const { kCache, vCache } = c.in;
  if (!kCache !== !vCache)
    throw new ArgumentError(`[${c.op}] kCache and vCache go together: only ${kCache ? 'kCache' : 'vCache'} is given`);
  if (kCache?.dtype !== vCache?.dtype)
    throw new ArgumentError(`[${c.op}] kCache is ${kCache?.dtype}, vCache is ${vCache?.dtype}: they must agree`);
  if (!kCache) {
    if (c.a.append) throw new ArgumentError(`[${c.op}] append needs kCache and vCache`);
    if (c.a.pos !== 0) refuse(c, 'pos', '0 where no cache is given');
    return;
  }
  const l = c.d.l as number;
  const room = (c.d.Lmax as number) - (c.a.append ? l : 0);
  if (room < 0 || num(c, 'pos') > room)
    shapeFailure(c, `the cache has ${c.d.Lmax} rows, pos is ${num(c, 'pos')} and ${l} rows are new`, ['qkv', 'kCache']);
  range(c, 'pos', 0, room);
}

export function interpolate(c: RuleContext): void {
  range(c, 'outH', 1, 65536);
  range(c, 'outW', 1, 65536);
}

export function gumbelSoftmax(c: RuleContext): void {
  if (!c.in.gumbel === !c.in.seed) throw new ArgumentError(`[${c.op}] give either gumbel or seed`);
  if (!(num(c, 'tau') > 0)) refuse(c, 'tau', 'a number above 0');
}
