import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { Graph, Tensor } from '../../engine/index.js';
import { Conv2d, Module, type WeightReader } from '../../nn/index.js';
import type { Tap } from '../tap.js';
import type { WinogradTile } from './blocks.js';
import type { VqvaeConfig } from './config.js';
import { Decoder } from './decoder.js';
import { Encoder } from './encoder.js';
import { MultiScaleQuantizer, type PatchSize } from './quantizer.js';

export interface VqvaeBuildOptions {
  /**
   * Transform of 3x3 convolutions: 0 direct, 2, 4 faster and less exact. Default: 4 in the decoder, whose pixels are rounded to bytes,
   * 2 in the encoder, whose features choose tokens.
   */
  readonly winograd?: WinogradTile;
  /** Start of the codebook: 0 N(0, 1), > 0 truncated normal of that std, < 0 uniform of |eini| / V. */
  readonly eini?: number;
}

/**
 * Graph of the multi-scale VQVAE. Images are [B, H, W, 3] f32 in [-1, 1], features and f_hat [B, h, w, Cvae], tokens [B, l] i32.
 * Every method enqueues and returns at once; the caller disposes what it gets.
 */
export class VqvaeModel extends Module {
  readonly encoder: Encoder;
  readonly decoder: Decoder;
  readonly quantize: MultiScaleQuantizer;
  /** Image pixels per feature pixel. */
  readonly downsample: number;
  private readonly quantConv: Conv2d;
  private readonly postQuantConv: Conv2d;

  constructor(
    readonly config: VqvaeConfig,
    options: VqvaeBuildOptions = {},
  ) {
    super('');
    const tile = options.winograd ?? 2;
    const decoderTile = options.winograd ?? 4;
    const { zChannels, quantConvKs } = config;
    this.downsample = 2 ** (config.chMult.length - 1);
    this.encoder = this.add(new Encoder(config, tile));
    this.decoder = this.add(new Decoder(config, decoderTile));
    // Features choose tokens and f_hat adds up over the scales: both stay f32 in every precision.
    this.quantize = this.add(new MultiScaleQuantizer(config, tile, options.eini)).inF32();
    this.quantConv = this.add(new Conv2d('quant_conv', zChannels, zChannels, { kernel: quantConvKs })).inF32();
    this.postQuantConv = this.add(new Conv2d('post_quant_conv', zChannels, zChannels, { kernel: quantConvKs })).inF32();
  }

  /** What decoding and quantizing need; the encoder may follow when it is first used. */
  async loadDecoding(weights: WeightReader): Promise<void> {
    await this.quantize.load(weights);
    await this.postQuantConv.load(weights);
    await this.decoder.load(weights);
  }

  async loadEncoding(weights: WeightReader): Promise<void> {
    await this.encoder.load(weights);
    await this.quantConv.load(weights);
  }

  /** quant_conv(encoder(x)): [B, H, W, 3] to [B, h, w, Cvae]. */
  encode(g: Graph, x: Tensor, tap?: Tap, checkpoint = false): Tensor {
    const [, height, width, channels] = x.shape;
    if (x.shape.length !== 4 || channels !== 3 || height! % this.downsample !== 0 || width! % this.downsample !== 0)
      throw new ShapeError(`[encode] images are [${x.shape}], accepted is [B, H, W, 3] with H and W multiples of ${this.downsample}`);
    return g.scope(() => {
      const z = this.encoder.forward(g, x, { tap, checkpoint });
      tap?.('encoder_out', z);
      const f = this.quantConv.forward(g.ops, z);
      tap?.('f', f);
      return f;
    });
  }

  /** decoder(post_quant_conv(fHat)), not clamped: what a loss is taken of. */
  decode(g: Graph, fHat: Tensor, tap?: Tap, checkpoint = false): Tensor {
    if (fHat.shape.length !== 4 || fHat.shape[3] !== this.config.zChannels)
      throw new ShapeError(`[fHatToImg] f_hat is [${fHat.shape}], accepted is [B, h, w, ${this.config.zChannels}]`);
    return g.scope(() => this.decoder.forward(g, this.postQuantConv.forward(g.ops, fHat), { tap, checkpoint }));
  }

  /** decoder(post_quant_conv(fHat)), clamped to [-1, 1]. */
  fHatToImg(g: Graph, fHat: Tensor, tap?: Tap): Tensor {
    return g.scope(() => {
      const raw = this.decode(g, fHat, tap);
      tap?.('raw', raw);
      return g.ops.affine(raw, { lo: -1, hi: 1 });
    });
  }

  imgToIdxBl(g: Graph, x: Tensor, patchNums?: readonly PatchSize[], tap?: Tap): Tensor[] {
    return g.scope(() => this.quantize.fToScales(g, this.encode(g, x, tap), false, patchNums).idxBl);
  }

  /** f_hat after every scale of the tokens of x. */
  imgToFhat(g: Graph, x: Tensor, patchNums?: readonly PatchSize[], tap?: Tap): Tensor[] {
    return g.scope(() => this.quantize.fToScales(g, this.encode(g, x, tap), true, patchNums).fHats);
  }

  /** Codeword maps [B, pn, pn, Cvae] of every scale to images, after every scale or (one entry) after the last. */
  embedToImg(g: Graph, msH: readonly Tensor[], sameShape: boolean, lastOne = false): Tensor[] {
    this.checkScales('embedToImg', msH.length);
    const { zChannels } = this.config;
    for (const [si, { shape }] of msH.entries())
      if (shape.length !== 4 || shape[3] !== zChannels)
        throw new ShapeError(`[embedToImg] the map of scale ${si} is [${shape}], accepted is [B, h, w, ${zChannels}]`);
    return g.scope(() => this.quantize.embedToFhat(g, msH, sameShape, lastOne).map((fHat) => this.fHatToImg(g, fHat)));
  }

  /** Tokens of every scale to images; token maps are square, or as `patchNums` tells. */
  idxBlToImg(g: Graph, idxBl: readonly Tensor[], sameShape: boolean, lastOne = false, patchNums?: readonly PatchSize[]): Tensor[] {
    return g.scope(() => this.embedToImg(g, this.embedScales(g, idxBl, patchNums), sameShape, lastOne));
  }

  /** f_hat of tokens, after every scale or (one entry) after the last. */
  idxBlToFhat(g: Graph, idxBl: readonly Tensor[], sameShape: boolean, lastOne = false, patchNums?: readonly PatchSize[]): Tensor[] {
    return g.scope(() => this.quantize.embedToFhat(g, this.embedScales(g, idxBl, patchNums), sameShape, lastOne));
  }

  idxBlToVarInput(g: Graph, idxBl: readonly Tensor[], progSi?: number): Tensor | null {
    const { patchNums } = this.config;
    this.checkScales('idxBlToVarInput', idxBl.length);
    for (const [si, idx] of idxBl.entries())
      if (idx.shape.length !== 2 || idx.shape[1] !== patchNums[si]! ** 2)
        throw new ShapeError(`[idxBlToVarInput] tokens of scale ${si} are [${idx.shape}], accepted is [B, ${patchNums[si]! ** 2}]`);
    return this.quantize.idxBlToVarInput(g, idxBl, progSi);
  }

  private embedScales(g: Graph, idxBl: readonly Tensor[], patchNums?: readonly PatchSize[]): Tensor[] {
    if (idxBl.length === 0) throw new ArgumentError('idxBl: an empty list was given, tokens of every scale are needed');
    const sizes = patchNums?.map((size): readonly [number, number] => (typeof size === 'number' ? [size, size] : size));
    if (sizes && sizes.length !== idxBl.length) throw new ArgumentError(`patchNums: ${sizes.length} sizes for ${idxBl.length} token maps`);
    return idxBl.map((idx, si) => {
      const l = idx.shape[1] ?? 0;
      const [ph, pw] = sizes?.[si] ?? [Math.round(Math.sqrt(l)), Math.round(Math.sqrt(l))];
      if (idx.shape.length !== 2 || ph * pw !== l)
        throw new ShapeError(
          `[idxBlToImg] tokens of scale ${si} are [${idx.shape}], accepted is [B, ${sizes ? ph * pw : 'a square number'}]`,
        );
      return this.quantize.embed(g.ops, idx, ph, pw);
    });
  }

  private checkScales(what: string, given: number): void {
    const wanted = this.config.patchNums.length;
    if (given < 1 || (what === 'idxBlToVarInput' && given !== wanted))
      throw new ArgumentError(
        `${what}: ${given} scales were given, this VQVAE has ${wanted} (patchNums ${this.config.patchNums.join('_')})`,
      );
  }
}
