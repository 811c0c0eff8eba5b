import { Tape } from '../../autograd/index.js';
import { ArgumentError } from '../../core/errors.js';
import type { Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { type Conv2d, GroupNorm, Module } from '../../nn/index.js';
import { replace, type Tap } from '../tap.js';
import { AttnBlock, conv3x3, ResnetBlock, type WinogradTile } from './blocks.js';
import type { VqvaeConfig } from './config.js';

interface Step {
  readonly name: string;
  readonly run: (ops: Ops<Tensor>, x: Tensor) => Tensor;
}

export interface StackOptions {
  readonly tap?: Tap | undefined;
  /** Gradient checkpointing (on a tape): activations inside a step are computed again in the backward pass. */
  readonly checkpoint?: boolean;
}

/** Shared by encoder and decoder: a straight line of named modules. */
export abstract class ConvStack extends Module {
  private readonly steps: Step[] = [];

  protected step<M extends Module & { forward(ops: Ops<Tensor>, x: Tensor): Tensor }>(module: M): M {
    this.add(module);
    this.steps.push({ name: module.name, run: (ops, x) => module.forward(ops, x) });
    return module;
  }

  /** Runs all steps; x stays the caller's. */
  protected runSteps(g: Graph, x: Tensor, { tap, checkpoint = false }: StackOptions): Tensor {
    if (checkpoint && !(g instanceof Tape)) throw new ArgumentError('checkpoint: it needs a tape');
    let h = x;
    for (const { name, run } of this.steps) {
      const part = (inner: Graph, [input]: readonly Tensor[]) => run(inner.ops, input!);
      const y = checkpoint ? (g as Tape).checkpoint([h], part) : part(g, [h]);
      if (h !== x) h.dispose();
      h = y;
      tap?.(name, h);
    }
    return h;
  }

  /** The three blocks at the lowest resolution. */
  protected middle(prefix: string, channels: number, groups: number, tile: WinogradTile): void {
    this.step(new ResnetBlock(`${prefix}.mid.block_1`, channels, channels, groups, tile));
    this.step(new AttnBlock(`${prefix}.mid.attn_1`, channels, groups));
    this.step(new ResnetBlock(`${prefix}.mid.block_2`, channels, channels, groups, tile));
  }
}

/** At the lowest resolution the larger transform saves no time and costs memory. */
export const lowestTile = (tile: WinogradTile): WinogradTile => (tile === 4 ? 2 : tile);

/** Image [B, H, W, 3] in [-1, 1] to features [B, H / 16, W / 16, z] (16 = 2 ^ (levels - 1)), both f32. */
export class Encoder extends ConvStack {
  private readonly normOut: GroupNorm;
  private readonly convOut: Conv2d;

  constructor(config: VqvaeConfig, tile: WinogradTile) {
    super('encoder');
    const { ch, chMult, numResBlocks, normGroups } = config;
    const last = chMult.length - 1;
    this.step(conv3x3('encoder.conv_in', 3, ch, tile));
    let width = ch;
    for (const [level, mult] of chMult.entries()) {
      const levelTile = level === last ? lowestTile(tile) : tile;
      for (let i = 0; i < numResBlocks; i++) {
        this.step(new ResnetBlock(`encoder.down.${level}.block.${i}`, width, ch * mult, normGroups, levelTile));
        width = ch * mult;
        if (level === last) this.step(new AttnBlock(`encoder.down.${level}.attn.${i}`, width, normGroups));
      }
      if (level !== last) this.step(new Downsample(`encoder.down.${level}.downsample`, width));
    }
    this.middle('encoder', width, normGroups, lowestTile(tile));
    this.normOut = this.add(new GroupNorm('encoder.norm_out', width, normGroups));
    this.convOut = this.add(conv3x3('encoder.conv_out', width, config.zChannels, lowestTile(tile)));
  }

  forward(g: Graph, x: Tensor, options: StackOptions = {}): Tensor {
    let h = this.runSteps(g, x, options);
    h = replace(h, this.normOut.forward(g.ops, h, true));
    return replace(h, this.convOut.forward(g.ops, h, { dtype: 'f32' }));
  }
}

class Downsample extends Module {
  private readonly conv: Conv2d;

  constructor(name: string, channels: number) {
    super(name);
    this.conv = this.add(conv3x3(`${name}.conv`, channels, channels, 0, { stride: 2 }));
  }

  forward(ops: Ops<Tensor>, x: Tensor): Tensor {
    return this.conv.forward(ops, x);
  }
}
