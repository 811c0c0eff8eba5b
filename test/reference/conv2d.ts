import { type Args, at, make, type Outputs, only, pick } from './kit.js';

/** w is the weight OIHW before packing. */
export default function conv2d(c: Args): Outputs {
  const x = c.ten('x');
  const w = c.ten('w');
  const bias = c.opt('bias');
  const residual = c.opt('residual');
  const [B, h, wide, I] = x.shape as [number, number, number, number];
  const [up, kernel, stride, pad, O] = [c.num('upsample'), c.num('kernel'), c.num('stride'), c.num('padBefore'), c.num('o')];
  const out = (n: number): number => Math.floor((n * up + pad + c.num('padAfter') - kernel) / stride) + 1;
  const [oh, ow] = [out(h), out(wide)];
  return only(
    'y',
    make([B, oh, ow, O], (i) => {
      const o = i % O;
      const ox = Math.floor(i / O) % ow;
      const oy = Math.floor(i / (O * ow)) % oh;
      const b = Math.floor(i / (O * ow * oh));
      let s = bias ? at(bias, o) : 0;
      for (let ky = 0; ky < kernel; ky++) {
        for (let kx = 0; kx < kernel; kx++) {
          const y = oy * stride + ky - pad;
          const z = ox * stride + kx - pad;
          if (y < 0 || y >= h * up || z < 0 || z >= wide * up) continue;
          for (let k = 0; k < I; k++) s += pick(x, b, Math.floor(y / up), Math.floor(z / up), k) * pick(w, o, k, ky, kx);
        }
      }
      return c.num('alpha') * s + (residual ? c.num('beta') * at(residual, i) : 0);
    }),
  );
}
