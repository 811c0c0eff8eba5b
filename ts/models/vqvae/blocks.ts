import type { Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { Conv2d, convAlgo, GroupNorm, Module } from '../../nn/index.js';
import { replace } from '../tap.js';

/** 0: direct sums, 2: exact enough for any use, 4: faster, about 1e-5 relative. */
export type WinogradTile = 0 | 2 | 4;

export const conv3x3 = (name: string, i: number, o: number, tile: WinogradTile, more: { stride?: 1 | 2; upsample?: number } = {}) =>
  new Conv2d(name, i, o, { algo: convAlgo(i, o, 3, more.stride ?? 1, tile), ...more });

/** GroupNorm, SiLU, conv, GroupNorm, SiLU, conv, plus the input (through a 1x1 convolution where the width changes). */
export class ResnetBlock extends Module {
  private readonly norm1: GroupNorm;
  private readonly conv1: Conv2d;
  private readonly norm2: GroupNorm;
  private readonly conv2: Conv2d;
  private readonly shortcut: Conv2d | null;

  constructor(name: string, inChannels: number, outChannels: number, groups: number, tile: WinogradTile) {
    super(name);
    this.norm1 = this.add(new GroupNorm(`${name}.norm1`, inChannels, groups));
    this.conv1 = this.add(conv3x3(`${name}.conv1`, inChannels, outChannels, tile));
    this.norm2 = this.add(new GroupNorm(`${name}.norm2`, outChannels, groups));
    this.conv2 = this.add(conv3x3(`${name}.conv2`, outChannels, outChannels, tile));
    this.shortcut =
      inChannels === outChannels ? null : this.add(new Conv2d(`${name}.nin_shortcut`, inChannels, outChannels, { kernel: 1 }));
  }

  forward(ops: Ops<Tensor>, x: Tensor): Tensor {
    let h = this.norm1.forward(ops, x, true);
    h = replace(h, this.conv1.forward(ops, h));
    h = replace(h, this.norm2.forward(ops, h, true));
    const residual = this.shortcut ? this.shortcut.forward(ops, x) : x;
    h = replace(h, this.conv2.forward(ops, h, { residual }));
    if (residual !== x) residual.dispose();
    return h;
  }
}

/** Single-head self-attention over all pixels with the map's full width. */
export class AttnBlock extends Module {
  private readonly norm: GroupNorm;
  private readonly qkv: Conv2d;
  private readonly projOut: Conv2d;

  constructor(
    name: string,
    private readonly channels: number,
    groups: number,
  ) {
    super(name);
    this.norm = this.add(new GroupNorm(`${name}.norm`, channels, groups));
    this.qkv = this.add(new Conv2d(`${name}.qkv`, channels, 3 * channels, { kernel: 1 }));
    this.projOut = this.add(new Conv2d(`${name}.proj_out`, channels, channels, { kernel: 1 }));
  }

  forward(ops: Ops<Tensor>, x: Tensor): Tensor {
    const [b, h, w] = x.shape as [number, number, number];
    const width = this.channels;
    let y = this.norm.forward(ops, x, false);
    y = replace(y, this.qkv.forward(ops, y));
    y = replace(y, ops.reshape(y, { shape: [b, h * w, 3 * width] }));
    y = replace(y, ops.attention(y, { heads: 1, width, scale: width ** -0.5 }));
    y = replace(y, ops.reshape(y, { shape: [b, h, w, width] }));
    return replace(y, this.projOut.forward(ops, y, { residual: x }));
  }
}
