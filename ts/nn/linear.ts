import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { fanInUniform, type Init } from './init.js';
import { Module, type Take } from './module.js';
import type { Precision } from './source.js';

export interface LinearOptions {
  readonly bias?: boolean;
  readonly init?: Init;
  readonly biasInit?: Init;
}

/** What the product is fused with: y = residual + gate * act(x W^T + b). */
export interface LinearEpilogue {
  readonly act?: 'none' | 'gelu' | 'silu';
  /** [B or 1, G, N]; row gateAt is used. */
  readonly gate?: Tensor;
  readonly gateAt?: number;
  /** [B, l, N]. */
  readonly residual?: Tensor;
  /** Of the output; default f32, whatever the model's precision: residual stream, modulation and logits are that. */
  readonly dtype?: Precision;
}

/** nn.Linear on [B, l, K]; the weight is packed once, or for every product where the module is bound so, in f32, f16, bf16 or int8. */
export class Linear extends Module {
  private readonly weightName: string;
  private readonly biasName: string | null;
  private weight!: Tensor;
  private bias: Tensor | undefined;

  constructor(
    name: string,
    readonly inFeatures: number,
    readonly outFeatures: number,
    options: LinearOptions = {},
  ) {
    super(name);
    const init = options.init ?? fanInUniform(inFeatures);
    this.weightName = this.param('weight', [outFeatures, inFeatures], init, { wanted: 'stored' });
    this.biasName = options.bias === false ? null : this.param('bias', [outFeatures], options.biasInit ?? init);
  }

  /** `bias` replaces the module's own. x [B, l, K] gives [B, l, N]. */
  forward(ops: Ops<Tensor>, x: Tensor, epilogue: LinearEpilogue = {}, bias: Tensor | undefined = this.bias): Tensor {
    const call = { n: this.outFeatures, bias, ...epilogue };
    return this.withPack(
      this.weight,
      (weight) => this.pack(ops, weight),
      (packed) => ops.linear(x, packed, call),
    );
  }

  protected override attach(ops: Ops<Tensor>, take: Take): void {
    this.weight = this.packOnUse ? this.use(take, this.weightName) : this.hold(this.pack(ops, take(this.weightName)!));
    if (this.biasName) this.bias = this.use(take, this.biasName);
  }

  private pack(ops: Ops<Tensor>, weight: Tensor): Tensor {
    return ops.linearPack(weight, { dtype: this.dtype === 'int8' ? 'u8' : this.dtype });
  }
}
