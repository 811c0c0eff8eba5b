import { type Args, at, type Outputs, only, type Ten, zeros } from './kit.js';

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x: number): number => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0);

/** First input sample and integer weights (2^22 = 1) of output o. */
function weights(o: number, n: number, out: number): { from: number; fixed: number[] } {
  const scale = n / out;
  const stretch = Math.max(scale, 1);
  const center = (o + 0.5) * scale;
  const from = Math.max(0, Math.trunc(center - 3 * stretch + 0.5));
  const to = Math.min(n, Math.trunc(center + 3 * stretch + 0.5));
  const w = Array.from({ length: to - from }, (_, k) => lanczos((from + k - center + 0.5) * (1 / stretch)));
  const sum = w.reduce((s, v) => s + v, 0);
  return { from, fixed: w.map((v) => Math.trunc((v / sum) * 2 ** 22 + (v / sum < 0 ? -0.5 : 0.5))) };
}

/** Resizes dim 1 of [outer, n, inner] bytes. */
function pass(x: Ten, outer: number, n: number, inner: number, out: number): Ten {
  const y = zeros([outer, out, inner]);
  for (let o = 0; o < out; o++) {
    const { from, fixed } = weights(o, n, out);
    for (let a = 0; a < outer; a++) {
      for (let c = 0; c < inner; c++) {
        let s = 2 ** 21;
        for (const [k, w] of fixed.entries()) s += at(x, (a * n + from + k) * inner + c) * w;
        y.data[(a * out + o) * inner + c] = Math.min(Math.max(Math.floor(s / 2 ** 22), 0), 255);
      }
    }
  }
  return y;
}

export default function resizeLanczos(c: Args): Outputs {
  const x = c.ten('x');
  const [h, w, C] = x.shape as [number, number, number];
  const [oh, ow] = [c.num('outH'), c.num('outW')];
  const wide = pass(x, h, w, C, ow);
  return only('y', { shape: [oh, ow, C], data: pass(wide, 1, h, ow * C, oh).data });
}
