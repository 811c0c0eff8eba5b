import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { ones, zeros } from './init.js';
import { Module, type Take } from './module.js';
import type { Precision } from './source.js';

/** nn.GroupNorm(32, C, eps = 1e-6) on NHWC, followed by SiLU where asked; the output has the model's precision. */
export class GroupNorm extends Module {
  private readonly gammaName: string;
  private readonly betaName: string;
  private gamma!: Tensor;
  private beta!: Tensor;

  constructor(
    name: string,
    channels: number,
    private readonly groups = 32,
    private readonly eps = 1e-6,
  ) {
    super(name);
    this.gammaName = this.param('weight', [channels], ones);
    this.betaName = this.param('bias', [channels], zeros);
  }

  forward(ops: Ops<Tensor>, x: Tensor, silu: boolean): Tensor {
    return ops.groupNorm(x, this.gamma, this.beta, { groups: this.groups, eps: this.eps, silu, dtype: this.precision });
  }

  protected override attach(_ops: Ops<Tensor>, take: Take): void {
    this.gamma = this.use(take, this.gammaName);
    this.beta = this.use(take, this.betaName);
  }
}

/** Which rows of the modulation a layer norm takes, and what it gives. */
export interface LayerNormCall {
  readonly scaleAt: number;
  readonly shiftAt: number;
  readonly eps: number;
  readonly dtype: Precision;
}

/** LayerNorm without affine, then y * (1 + mod[scaleAt]) + mod[shiftAt]; x [B, l, C], mod [B or 1, G, C]. */
export function layerNormMod(ops: Ops<Tensor>, x: Tensor, mod: Tensor, call: LayerNormCall): Tensor {
  return ops.layerNorm(x, { mod, ...call });
}
