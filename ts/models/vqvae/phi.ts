import type { Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { Conv2d, convAlgo } from '../../nn/index.js';

/** K points from start to stop, as numpy.linspace computes them in float64. */
function linspace(start: number, stop: number, k: number): number[] {
  if (k === 1) return [start];
  const step = (stop - start) / (k - 1);
  const ticks = Array.from({ length: k }, (_, i) => i * step + start);
  ticks[k - 1] = stop;
  return ticks;
}

/** Which of K residual convolutions scale `si` of `sn` uses: the nearest tick to si / (sn - 1), the first of two equally near. */
export function phiIndex(k: number, si: number, sn: number): number {
  const at = sn > 1 ? si / (sn - 1) : 0;
  const edge = k === 4 ? 1 / 3 / k : 1 / 2 / k;
  const ticks = linspace(edge, 1 - edge, k);
  let best = 0;
  for (let i = 1; i < k; i++) if (Math.abs(ticks[i]! - at) < Math.abs(ticks[best]! - at)) best = i;
  return best;
}

/** phi(h) = (1 - r) h + r conv3x3(h), on NHWC maps. */
export class Phi extends Conv2d {
  private readonly ratio: number;

  constructor(name: string, channels: number, quantResi: number, winograd: 0 | 2 | 4) {
    super(name, channels, channels, { algo: convAlgo(channels, channels, 3, 1, winograd === 4 ? 2 : winograd) });
    this.ratio = Math.abs(quantResi);
  }

  override forward(ops: Ops<Tensor>, h: Tensor): Tensor {
    return super.forward(ops, h, { residual: h, alpha: this.ratio, beta: 1 - this.ratio });
  }
}
