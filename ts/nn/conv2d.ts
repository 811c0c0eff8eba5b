import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { fanInUniform } from './init.js';
import { Module, type Take } from './module.js';
import type { Precision } from './source.js';

export type ConvAlgo = 'direct' | 'winograd2' | 'winograd4';

export interface Conv2dOptions {
  /** 1, or 3 with padding 1. */
  readonly kernel?: number;
  /** 2 pads below and to the right only, as the encoder of the reference does. */
  readonly stride?: 1 | 2;
  /** Nearest-neighbour factor in front of the convolution. */
  readonly upsample?: number;
  readonly algo?: ConvAlgo;
}

/** y = alpha * (conv(x) + b) + beta * residual. */
export interface ConvEpilogue {
  readonly residual?: Tensor;
  readonly alpha?: number;
  readonly beta?: number;
  /** Of the output; default: the model's precision. */
  readonly dtype?: Precision;
}

/** Fewer channels than this do not fill the transformed products of Winograd. */
const WINOGRAD_CHANNELS = 32;

/**
 * Output pixels below which the smaller transform, or none, is cheaper for a single use, packing included: set from one run on a busy
 * machine with 64 to 640 channels, no benchmark repeats it.
 */
const DIRECT_BELOW = 96;
const WINOGRAD2_BELOW = 512;

/** The algorithm for a 3x3 stride-1 convolution; `tile` 4 is faster and about ten times less exact than 2, 0 asks for direct sums. */
export function convAlgo(inChannels: number, outChannels: number, kernel: number, stride: number, tile: 0 | 2 | 4): ConvAlgo {
  if (kernel !== 3 || stride !== 1 || tile === 0 || Math.min(inChannels, outChannels) < WINOGRAD_CHANNELS) return 'direct';
  return tile === 4 ? 'winograd4' : 'winograd2';
}

/**
 * The algorithm where a weight is transformed for one convolution alone, of `positions` output pixels in the whole batch. A transform costs
 * as much for one pixel as for many; a direct convolution has 1.8 to 4 times the products of a transformed one, for every pixel.
 */
export function convAlgoOnce(algo: ConvAlgo, positions: number): ConvAlgo {
  if (algo === 'direct' || positions < DIRECT_BELOW) return 'direct';
  return positions < WINOGRAD2_BELOW ? 'winograd2' : algo;
}

/** nn.Conv2d on NHWC maps; the OIHW weight is packed once, or for every use where the module is bound so, in f32, f16 or bf16. */
export class Conv2d extends Module {
  private readonly kernel: number;
  private readonly stride: number;
  private readonly upsample: number;
  private readonly algo: ConvAlgo;
  private readonly weightName: string;
  private readonly biasName: string;
  private weight!: Tensor;
  private bias!: Tensor;

  constructor(
    name: string,
    inChannels: number,
    readonly outChannels: number,
    options: Conv2dOptions = {},
  ) {
    super(name);
    this.kernel = options.kernel ?? 3;
    this.stride = options.stride ?? 1;
    this.upsample = options.upsample ?? 1;
    this.algo = options.algo ?? 'direct';
    const init = fanInUniform(inChannels * this.kernel * this.kernel);
    this.weightName = this.param('weight', [outChannels, inChannels, this.kernel, this.kernel], init, { wanted: 'stored' });
    this.biasName = this.param('bias', [outChannels], init);
  }

  /** x [B, h, w, I] gives [B, h', w', O]; `residual` has the output's shape. */
  forward(ops: Ops<Tensor>, x: Tensor, epilogue: ConvEpilogue = {}): Tensor {
    const half = this.kernel >> 1;
    const [batch, height, width] = x.shape as [number, number, number];
    const algo = this.packOnUse ? convAlgoOnce(this.algo, batch * height * width * this.upsample ** 2) : this.algo;
    const call = {
      o: this.outChannels,
      bias: this.bias,
      kernel: this.kernel,
      stride: this.stride,
      padBefore: this.stride === 2 ? 0 : half,
      padAfter: this.stride === 2 ? 1 : half,
      upsample: this.upsample,
      algo,
      dtype: this.precision,
      ...epilogue,
    };
    return this.withPack(
      this.weight,
      (weight) => this.pack(ops, weight, algo),
      (packed) => ops.conv2d(x, packed, call),
    );
  }

  protected override attach(ops: Ops<Tensor>, take: Take): void {
    this.weight = this.packOnUse ? this.use(take, this.weightName) : this.hold(this.pack(ops, take(this.weightName)!, this.algo));
    this.bias = this.use(take, this.biasName);
  }

  private pack(ops: Ops<Tensor>, weight: Tensor, algo: ConvAlgo): Tensor {
    return ops.convPack(weight, { algo, dtype: this.dtype === 'int8' ? 'f32' : this.dtype });
  }
}
