import type { Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { type AttentionCall, Linear, layerNormMod, Module, SelfAttention, type Take, zeros } from '../../nn/index.js';
import { replace } from '../tap.js';
import type { VarConfig } from './config.js';
import type { VarInit } from './init.js';

// Rows of the modulation tensor [B, 6, C].
const GAMMA1 = 0;
const GAMMA2 = 1;
const SCALE1 = 2;
const SCALE2 = 3;
const SHIFT1 = 4;
const SHIFT2 = 5;

/** AdaLN transformer block: x += gamma1 attn(mod1(x)); x += gamma2 ffn(mod2(x)). */
export class AdaLnBlock extends Module {
  private readonly attn: SelfAttention;
  private readonly fc1: Linear;
  private readonly fc2: Linear;
  private readonly adaLin: Linear | null;
  private readonly gssName: string | null;
  private gss: Tensor | undefined;

  constructor(
    index: number,
    private readonly config: VarConfig,
    init: VarInit,
  ) {
    const name = `blocks.${index}`;
    super(name);
    const { embedDim: width, numHeads, sharedAln, attnL2Norm, mlpRatio } = config;
    const hidden = Math.round(width * mlpRatio);
    this.attn = this.add(new SelfAttention(`${name}.attn`, width, numHeads, attnL2Norm, { qkv: init.linear, proj: init.residual }));
    this.fc1 = this.add(new Linear(`${name}.ffn.fc1`, width, hidden, { init: init.linear, biasInit: zeros }));
    this.fc2 = this.add(new Linear(`${name}.ffn.fc2`, hidden, width, { init: init.residual, biasInit: zeros }));
    this.gssName = sharedAln ? this.param('ada_gss', [1, 1, 6, width], init.adaGss) : null;
    this.adaLin = sharedAln ? null : this.add(new Linear(`${name}.ada_lin.1`, width, 6 * width, { init: init.adaLin, biasInit: zeros }));
  }

  /**
   * Modulation of all tokens, [B, 6, C]. `cond` is silu(class embedding) [B, 1, C], or with sharedAln the shared projection [B, 6, C].
   */
  modulation(ops: Ops<Tensor>, cond: Tensor): Tensor {
    if (this.gss) return ops.binary(cond, this.gss, { fn: 'add' });
    const width = this.config.embedDim;
    const y = this.adaLin!.forward(ops, cond);
    return replace(y, ops.reshape(y, { shape: [cond.shape[0]!, 6, width] }));
  }

  /** x [B, l, C] and mod [B, 6, C] give [B, l, C], all f32; what lies between the layers has the model's precision. x stays the caller's. */
  forward(ops: Ops<Tensor>, x: Tensor, mod: Tensor, call: Omit<AttentionCall, 'epilogue'>): Tensor {
    const eps = this.config.normEps;
    const { precision: dtype } = this;
    let h = layerNormMod(ops, x, mod, { scaleAt: SCALE1, shiftAt: SHIFT1, eps, dtype });
    const y = replace(h, this.attn.forward(ops, h, { ...call, epilogue: { gate: mod, gateAt: GAMMA1, residual: x } }));
    h = layerNormMod(ops, y, mod, { scaleAt: SCALE2, shiftAt: SHIFT2, eps, dtype });
    h = replace(h, this.fc1.forward(ops, h, { act: 'gelu', dtype }));
    h = replace(h, this.fc2.forward(ops, h, { gate: mod, gateAt: GAMMA2, residual: y }));
    y.dispose();
    return h;
  }

  protected override attach(ops: Ops<Tensor>, take: Take): void {
    if (this.gssName) this.gss = this.hold(ops.reshape(take(this.gssName)!, { shape: [1, 6, this.config.embedDim] }));
  }
}
