import { type Args, coordinates, make, type Outputs, only, pick } from './kit.js';

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

export default function interpolate(c: Args): Outputs {
  const x = c.ten('x');
  const [B, h, w, C] = x.shape as [number, number, number, number];
  const shape = [B, c.num('outH'), c.num('outW'), C];
  return only(
    'y',
    make(shape, (i) => {
      const [b, oy, ox, k] = coordinates(i, shape) as [number, number, number, number];
      let s = 0;
      for (const [iy, wy] of samples(c.str('mode'), oy, h, c.num('outH'))) {
        for (const [ix, wx] of samples(c.str('mode'), ox, w, c.num('outW'))) s += wy * wx * pick(x, b, iy, ix, k);
      }
      return s;
    }),
  );
}
