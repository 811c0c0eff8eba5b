import { type Args, at, coordinates, type Outputs, only, zeros } from './kit.js';

// Keys' kernel, a = -0.75.
function cubic(t: number): number {
  const x = Math.abs(t);
  if (x <= 1) return 1.25 * x ** 3 - 2.25 * x ** 2 + 1;
  return x < 2 ? -0.75 * x ** 3 + 3.75 * x ** 2 - 6 * x + 3 : 0;
}

/** [input index, weight] pairs of output o along one dim. */
function samples(mode: string, o: number, n: number, out: number): [number, number][] {
  if (mode === 'nearest') return [[Math.floor((o * n) / out), 1]];
  if (mode === 'area') {
    const from = Math.floor((o * n) / out);
    const to = Math.ceil(((o + 1) * n) / out);
    return Array.from({ length: to - from }, (_, i) => [from + i, 1 / (to - from)]);
  }
  const src = ((o + 0.5) * n) / out - 0.5;
  const base = Math.floor(src);
  return [-1, 0, 1, 2].map((t) => [Math.min(Math.max(base + t, 0), n - 1), cubic(src - base - t)]);
}

export default function interpolateGrad(c: Args): Outputs {
  const dy = c.ten('dy');
  const [B, oh, ow, C] = dy.shape as [number, number, number, number];
  const [h, w] = [c.num('h'), c.num('w')];
  const dx = zeros([B, h, w, C]);
  for (let i = 0; i < dy.data.length; i++) {
    const [b, oy, ox, k] = coordinates(i, dy.shape) as [number, number, number, number];
    for (const [iy, wy] of samples(c.str('mode'), oy, h, oh)) {
      for (const [ix, wx] of samples(c.str('mode'), ox, w, ow)) {
        const to = ((b * h + iy) * w + ix) * C + k;
        dx.data[to] = at(dx, to) + wy * wx * at(dy, i);
      }
    }
  }
  return only('dx', dx);
}
