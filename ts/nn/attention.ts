import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { type Init, zeros } from './init.js';
import { Linear, type LinearEpilogue } from './linear.js';
import { Module, type Take } from './module.js';

/** Keys and values of one block, [B, H, capacity, c] each. */
export interface KvCache {
  readonly k: Tensor;
  readonly v: Tensor;
}

export interface AttentionCall {
  /** Number of keys each query sees, [l] i32; absent: all. */
  readonly visible?: Tensor;
  readonly cache?: KvCache;
  /** Rows of the cache that are filled. */
  readonly pos?: number;
  /** Write the new keys and values to the cache. */
  readonly append?: boolean;
  readonly epilogue?: LinearEpilogue;
}

/** Upper bound of the learnt per-head scale, before the exponential. */
const MAX_SCALE_MUL = Math.log(100);

/** Self-attention of VAR: fused qkv with biases (q, 0, v), optionally l2-normalised q and k with a learnt scale per head. */
export class SelfAttention extends Module {
  private readonly qkv: Linear;
  private readonly proj: Linear;
  private readonly names: { q: string; k: string; v: string; scaleMul: string | null };
  private readonly headWidth: number;
  private bias!: Tensor;
  private scaleMul: Tensor | undefined;

  constructor(
    name: string,
    private readonly width: number,
    private readonly heads: number,
    private readonly l2Norm: boolean,
    init: { qkv: Init; proj: Init },
  ) {
    super(name);
    this.headWidth = width / heads;
    this.names = {
      scaleMul: l2Norm ? this.param('scale_mul_1H11', [1, heads, 1, 1], { kind: 'constant', value: Math.log(4) }) : null,
      q: this.param('q_bias', [width], zeros),
      v: this.param('v_bias', [width], zeros),
      k: this.param('zero_k_bias', [width], zeros, { buffer: true, optional: true, wanted: 'f32' }),
    };
    this.qkv = this.add(new Linear(`${name}.mat_qkv`, width, 3 * width, { bias: false, init: init.qkv }));
    this.proj = this.add(new Linear(`${name}.proj`, width, width, { init: init.proj, biasInit: zeros }));
  }

  /** x [B, l, C] gives [B, l, C] f32; q, k, v and what the projection reads have the model's precision. */
  forward(ops: Ops<Tensor>, x: Tensor, call: AttentionCall): Tensor {
    const qkv = this.qkv.forward(ops, x, { dtype: this.precision }, this.bias);
    const y = ops.attention(qkv, {
      heads: this.heads,
      width: this.headWidth,
      scale: this.l2Norm ? 1 : 0.25 / Math.sqrt(this.headWidth),
      maxScaleMul: MAX_SCALE_MUL,
      scaleMul: this.scaleMul,
      visible: call.visible,
      kCache: call.cache?.k,
      vCache: call.cache?.v,
      pos: call.pos ?? 0,
      append: call.append ?? false,
    });
    qkv.dispose();
    const out = this.proj.forward(ops, y, call.epilogue);
    y.dispose();
    return out;
  }

  protected override attach(ops: Ops<Tensor>, take: Take): void {
    const { q, k, v, scaleMul } = this.names;
    const middle = take(k) ?? ops.fill({ shape: [this.width] });
    const start = ops.concat(take(q)!, middle, { axis: 0 });
    this.bias = this.hold(ops.concat(start, take(v)!, { axis: 0 }));
    start.dispose();
    if (!take(k)) middle.dispose();
    this.scaleMul = scaleMul ? this.hold(ops.reshape(take(scaleMul)!, { shape: [this.heads] })) : undefined;
  }
}
