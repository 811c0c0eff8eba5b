import { type Args, at, coordinates, make, type Outputs, pick } from './kit.js';

export default function conv2dGradW(c: Args): Outputs {
  const [x, dy, dw, dbias] = [c.ten('x'), c.ten('dy'), c.ten('dw'), c.opt('dbias')];
  const [B, oh, ow] = dy.shape as [number, number, number];
  const [h, wide] = x.shape.slice(1) as [number, number];
  const [up, stride, pad, alpha] = [c.num('upsample'), c.num('stride'), c.num('padBefore'), c.num('alpha')];
  const over = (f: (b: number, y: number, z: number) => number): number => {
    let s = 0;
    for (let b = 0; b < B; b++) for (let y = 0; y < oh; y++) for (let z = 0; z < ow; z++) s += f(b, y, z);
    return alpha * s;
  };
  const w = make(dw.shape, (i) => {
    const [o, k, ky, kx] = coordinates(i, dw.shape) as [number, number, number, number];
    const term = (b: number, oy: number, ox: number): number => {
      const y = oy * stride + ky - pad;
      const z = ox * stride + kx - pad;
      if (y < 0 || y >= h * up || z < 0 || z >= wide * up) return 0;
      return pick(dy, b, oy, ox, o) * pick(x, b, Math.floor(y / up), Math.floor(z / up), k);
    };
    return at(dw, i) + over(term);
  });
  if (!dbias) return { tensors: { dw: w } };
  return { tensors: { dw: w, dbias: make(dbias.shape, (o) => at(dbias, o) + over((b, y, z) => pick(dy, b, y, z, o))) } };
}
