import type { Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { type Conv2d, GroupNorm, Module } from '../../nn/index.js';
import { replace } from '../tap.js';
import { AttnBlock, conv3x3, ResnetBlock, type WinogradTile } from './blocks.js';
import type { VqvaeConfig } from './config.js';
import { ConvStack, lowestTile, type StackOptions } from './encoder.js';

/** Features [B, h, w, z] to an image [B, 16 h, 16 w, 3], not clamped, both f32. */
export class Decoder extends ConvStack {
  private readonly normOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(config: VqvaeConfig, tile: WinogradTile) {
    super('decoder');
    const { ch, chMult, numResBlocks, normGroups } = config;
    const last = chMult.length - 1;
    let width = ch * chMult[last]!;
    this.step(conv3x3('decoder.conv_in', config.zChannels, width, lowestTile(tile)));
    this.middle('decoder', width, normGroups, lowestTile(tile));
    for (let level = last; level >= 0; level--) {
      const levelTile = level === last ? lowestTile(tile) : tile;
      for (let i = 0; i <= numResBlocks; i++) {
        this.step(new ResnetBlock(`decoder.up.${level}.block.${i}`, width, ch * chMult[level]!, normGroups, levelTile));
        width = ch * chMult[level]!;
        if (level === last) this.step(new AttnBlock(`decoder.up.${level}.attn.${i}`, width, normGroups));
      }
      if (level > 0) this.step(new Upsample(`decoder.up.${level}.upsample`, width, tile));
    }
    this.normOut = this.add(new GroupNorm('decoder.norm_out', width, normGroups));
    this.convOut = this.add(conv3x3('decoder.conv_out', width, 3, tile));
  }

  forward(g: Graph, z: Tensor, options: StackOptions = {}): Tensor {
    let h = this.runSteps(g, z, options);
    h = replace(h, this.normOut.forward(g.ops, h, true));
    return replace(h, this.convOut.forward(g.ops, h, { dtype: 'f32' }));
  }
}

class Upsample extends Module {
  private readonly conv: Conv2d;

  constructor(name: string, channels: number, tile: WinogradTile) {
    super(name);
    this.conv = this.add(conv3x3(`${name}.conv`, channels, channels, tile, { upsample: 2 }));
  }

  forward(ops: Ops<Tensor>, x: Tensor): Tensor {
    return this.conv.forward(ops, x);
  }
}
