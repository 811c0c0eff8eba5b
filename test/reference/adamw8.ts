import { adam, gradientFactor, parameters } from './adam.js';
import { type Args, at, make, type Outputs, type Ten, zeros } from './kit.js';

const BLOCK = 256;

const decodeM = (code: number, scale: number): number => scale * Math.sign(code - 128) * ((code - 128) / 127) ** 2;
const decodeV = (code: number, scale: number): number => scale * (code / 255) ** 2;

/** Nearest q of 0..most for (q / most)^2 to the ratio, and the distance of the ratio to the boundary between two codes. */
function nearest(ratio: number, most: number): [number, number] {
  let q = 0;
  const boundary = (k: number): number => ((k / most) ** 2 + ((k + 1) / most) ** 2) / 2;
  while (q < most && ratio >= boundary(q)) q++;
  const below = q > 0 ? ratio - boundary(q - 1) : Number.POSITIVE_INFINITY;
  const above = q < most ? boundary(q) - ratio : Number.POSITIVE_INFINITY;
  return [q, Math.min(below, above)];
}

/** Codes and scales of moments; sign: of m. */
function encode(values: Ten, blocks: Ten, signed: boolean): { codes: Ten; scales: Ten; margin: number } {
  const codes = zeros(values.shape);
  const scales = zeros(blocks.shape);
  let margin = Number.POSITIVE_INFINITY;
  for (let b = 0; b < scales.data.length; b++) {
    const part = values.data.subarray(b * BLOCK, (b + 1) * BLOCK);
    const scale = part.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    scales.data[b] = scale;
    for (const [i, x] of part.entries()) {
      const [q, distance] = scale > 0 ? nearest(Math.abs(x) / scale, signed ? 127 : 255) : [0, Number.POSITIVE_INFINITY];
      margin = Math.min(margin, distance);
      codes.data[b * BLOCK + i] = signed ? 128 + Math.sign(x) * q : Math.max(q, x > 0 ? 1 : 0);
    }
  }
  return { codes, scales, margin };
}

export default function adamw8(c: Args): Outputs {
  const [grad, m0, v0, mScale0, vScale0] = [c.ten('grad'), c.ten('m'), c.ten('v'), c.ten('mScale'), c.ten('vScale')];
  const master = c.opt('master');
  const factor = gradientFactor(c);
  if (factor === undefined) {
    return { tensors: { param: c.ten('param'), m: m0, v: v0, mScale: mScale0, vScale: vScale0, ...(master && { master }) } };
  }
  const block = (t: Ten, i: number): number => at(t, Math.floor(i / BLOCK));
  const step = (i: number, p: number): [number, number, number] =>
    adam(c, factor, p, at(grad, i), decodeM(at(m0, i), block(mScale0, i)), decodeV(at(v0, i), block(vScale0, i)));
  const { tensors, margin } = parameters(c, (i, p) => step(i, p)[0]);
  const before = master ?? c.ten('param');
  const nextM = make(m0.shape, (i) => step(i, at(before, i))[1]);
  const nextV = make(v0.shape, (i) => step(i, at(before, i))[2]);
  const m = encode(nextM, mScale0, true);
  const v = encode(nextV, vScale0, false);
  return {
    tensors: { ...tensors, m: m.codes, v: v.codes, mScale: m.scales, vScale: v.scales },
    margin: Math.min(margin, m.margin, v.margin),
  };
}
