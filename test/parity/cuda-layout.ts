// What linear_pack and conv_pack write on CUDA, where packed weights are opaque to everything but linear and conv2d: rows of output channels
// in a tensor of the declared shape. linear: [N16, K]; conv: [O16, kh, kw, I], for every algorithm at the front of the tensor.
import { type Args, type Outputs, pick, type Reference, type Ten, toDType } from '../reference/kit.js';

const padded = (n: number): number => Math.ceil(n / 16) * 16;

function filled(rows: number, used: number, width: number, f: (row: number, i: number) => number): Float64Array {
  const data = new Float64Array(rows * width);
  for (let row = 0; row < used; row++) for (let i = 0; i < width; i++) data[row * width + i] = f(row, i);
  return data;
}

function linearPack(c: Args): Outputs {
  const w = c.ten('w');
  const turned = c.flag('transpose');
  const [N, K] = (turned ? [w.shape[1], w.shape[0]] : w.shape) as [number, number];
  const data = filled(padded(N), N, K, (n, k) => toDType(turned ? pick(w, k, n) : pick(w, n, k), c.str('dtype')));
  return { tensors: { packed: { shape: [padded(N) / 16, K, 16], data } } };
}

function convPack(c: Args): Outputs {
  const w = c.ten('w');
  const turned = c.flag('transpose');
  const [outer, inner, kh, kw] = w.shape as [number, number, number, number];
  const [O, I] = turned ? [inner, outer] : [outer, inner];
  const data = filled(padded(O), O, kh * kw * I, (o, at) => {
    const [i, x, y] = [at % I, Math.floor(at / I) % kw, Math.floor(at / (I * kw))];
    return toDType(turned ? pick(w, i, o, kh - 1 - y, kw - 1 - x) : pick(w, o, i, y, x), c.str('dtype'));
  });
  const points = { direct: 0, winograd2: 16, winograd4: 36 }[c.str('algo')] as number;
  const shape = points ? [points, padded(O) / 16, I, 16] : [padded(O) / 16, kh * kw * I, 16];
  const packed: Ten = { shape, data };
  return { tensors: { packed }, front: true };
}

export const CUDA_LAYOUT: Readonly<Record<string, Reference>> = { linear_pack: linearPack, conv_pack: convPack };
