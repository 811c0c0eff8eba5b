import { type Args, at, type Outputs, only, pick, zeros } from './kit.js';

export default function layerNorm(c: Args): Outputs {
  const x = c.ten('x');
  const mod = c.opt('mod');
  const [B, l, C] = x.shape as [number, number, number];
  const y = zeros(x.shape);
  for (let row = 0; row < B * l; row++) {
    const b = mod?.shape[0] === 1 ? 0 : Math.floor(row / l);
    let mean = 0;
    let variance = 0;
    for (let k = 0; k < C; k++) mean += at(x, row * C + k) / C;
    for (let k = 0; k < C; k++) variance += (at(x, row * C + k) - mean) ** 2 / C;
    for (let k = 0; k < C; k++) {
      const v = (at(x, row * C + k) - mean) / Math.sqrt(variance + c.num('eps'));
      y.data[row * C + k] = mod ? v * (1 + pick(mod, b, c.num('scaleAt'), k)) + pick(mod, b, c.num('shiftAt'), k) : v;
    }
  }
  return only('y', y);
}
