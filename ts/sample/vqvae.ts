import { checkBoolean, checkEnum, checkInt, checkNumber, checkOptions, checkSignal, refuse } from '../core/check.js';
import { ArgumentError, DisposedError } from '../core/errors.js';
import { Engine, type Scope, type Tensor } from '../engine/index.js';
import type { Tap } from '../models/tap.js';
import { breathe } from '../models/var/index.js';
import {
  DEFAULT_VQVAE,
  inferVqvaeConfig,
  type PatchSize,
  patchSizes,
  type VqvaeBuildOptions,
  type VqvaeConfig,
  VqvaeModel,
  vqvaeConfig,
  type WinogradTile,
  winogradTile,
} from '../models/vqvae/index.js';
import { checkKeys, InitSource, type Numerics, WeightReader, type WeightSource } from '../nn/index.js';
import { type RgbImage, splitImages } from './image.js';
import { type ImageInput, imageBatch } from './input.js';
import { checkNumerics, NUMERICS_OPTIONS, type NumericsOptions } from './numerics.js';
import { openWeights, VQVAE_FAMILY, type WeightInput } from './source.js';
import { checkTokens, joinTokens, type TokenLayout, type Tokens } from './tokens.js';

/** Fields of the configuration that the file cannot tell (patchNums, quantResi, usingZnorm, beta), and how to load. */
export interface VqvaeLoadOptions extends Partial<VqvaeConfig>, NumericsOptions {
  /**
   * Transform of 3x3 convolutions on the CPU: 0 direct sums, 2, 4 faster, with larger weights. Default: 2, and 4 in a decoder
   * with f32 weights. A GPU always sums directly.
   */
  winograd?: WinogradTile;
  /** When the encoder's weights are packed: on first use (default where a path is given), or at once. */
  encoder?: 'lazy' | 'eager';
  signal?: AbortSignal;
}

export interface VqvaeInitOptions extends Partial<VqvaeConfig>, NumericsOptions {
  seed?: number;
  /** Start of the codebook: 0 N(0, 1), > 0 truncated normal of that std, < 0 uniform of |eini| / V. */
  eini?: number;
  winograd?: WinogradTile;
  signal?: AbortSignal;
}

interface WorkOptions {
  signal?: AbortSignal;
  /** Inspection hook, see Tap. */
  tap?: Tap;
}

export interface TokenizeOptions extends WorkOptions {
  /** Sizes of the token maps, from small to large; the last is the image's size / 16. Default: the model's. */
  patchNums?: readonly PatchSize[];
}

/** Images, and where asked for the images after every scale. */
export interface DecodedImages {
  readonly images: RgbImage[];
  /** scales[si][i] is image i after scale si; empty unless everyScale. */
  readonly scales: RgbImage[][];
}

export interface DecodeOptions extends WorkOptions, TokenLayout {
  everyScale?: boolean;
}

const CONFIG_FIELDS: readonly string[] = Object.keys(DEFAULT_VQVAE);
const WORK_OPTIONS: readonly string[] = ['signal', 'tap'];
const TOKENIZE_OPTIONS: readonly string[] = [...WORK_OPTIONS, 'patchNums'];

/** Pixels decoded in one go; larger batches run in parts, so that memory does not grow with them. */
const PIXELS_PER_PART = 256 * 256;

export const imagesPerPart = (height: number, width: number): number => Math.max(1, Math.floor(PIXELS_PER_PART / (height * width)));

/** A multi-scale VQVAE on an engine: images to tokens and back. */
export class VQVAE {
  private gone = false;
  private encoding: Promise<void> | null = null;

  private constructor(
    readonly engine: Engine,
    /** The graph, for work on tensors. */
    readonly model: VqvaeModel,
    private readonly source: WeightSource,
    private readonly numerics: Numerics,
    private readonly release: () => void,
  ) {}

  /**
   * Loads a state dict under the reference's names. The configuration is read from the shapes; `options` adds what they do not tell.
   * Throws CheckpointError (file broken, keys missing or unexpected) or ArgumentError (options that contradict the file).
   */
  static async load(engine: Engine, input: WeightInput, options: VqvaeLoadOptions = {}): Promise<VQVAE> {
    checkEngine(engine);
    checkOptions('VQVAE.load', options, [...CONFIG_FIELDS, ...NUMERICS_OPTIONS, 'winograd', 'encoder', 'signal']);
    const { winograd, encoder, signal, precision, dtype, ...config } = options;
    checkSignal(signal);
    checkWinograd(winograd);
    const numerics = checkNumerics({ precision, dtype }, engine, 'VQVAE');
    if (encoder !== undefined) checkEnum('encoder', encoder, ['lazy', 'eager']);
    const { source, owned } = await openWeights(input, VQVAE_FAMILY);
    const close = () => owned?.close();
    try {
      const model = new VqvaeModel(inferVqvaeConfig(source, config), { winograd: winogradTile(engine, winograd, numerics) });
      checkKeys('VQVAE', model.parameters(), source);
      const vqvae = new VQVAE(engine, model, source, numerics, close);
      await vqvae.prepare(encoder ?? (owned ? 'lazy' : 'eager'), signal);
      return vqvae;
    } catch (error) {
      close();
      throw error;
    }
  }

  /** A model of seeded random weights, distributed as the reference starts them. */
  static async init(engine: Engine, options: VqvaeInitOptions = {}): Promise<VQVAE> {
    checkEngine(engine);
    checkOptions('VQVAE.init', options, [...CONFIG_FIELDS, ...NUMERICS_OPTIONS, 'seed', 'eini', 'winograd', 'signal']);
    const { seed = 0, eini, winograd, signal, precision, dtype, ...config } = options;
    checkSignal(signal);
    checkInt('seed', seed, 0, Number.MAX_SAFE_INTEGER);
    checkNumber('eini', eini ?? 0, -1e6, 1e6);
    checkWinograd(winograd);
    const numerics = checkNumerics({ precision, dtype }, engine, 'VQVAE');
    const build: VqvaeBuildOptions = { winograd: winogradTile(engine, winograd, numerics), eini };
    const model = new VqvaeModel(vqvaeConfig(config), build);
    const vqvae = new VQVAE(engine, model, new InitSource(model.parameters(), seed), numerics, () => {});
    await vqvae.prepare('lazy', signal);
    return vqvae;
  }

  get disposed(): boolean {
    return this.gone;
  }

  get config(): VqvaeConfig {
    return this.model.config;
  }

  /** Side length of the images, pixels. */
  get resolution(): number {
    return this.config.patchNums.at(-1)! * this.model.downsample;
  }

  /** Packs the encoder if it is not yet. Called by everything that encodes. */
  loadEncoder(signal?: AbortSignal): Promise<void> {
    this.check();
    this.encoding ??= this.model.loadEncoding(new WeightReader(this.engine, this.source, this.numerics, signal)).catch((error: unknown) => {
      this.encoding = null;
      throw error;
    });
    return this.encoding;
  }

  /** quant_conv(encoder(x)): [B, H, W, 3] f32 in [-1, 1] to [B, H / 16, W / 16, Cvae]. The caller disposes the result. */
  async encode(x: Tensor, options: WorkOptions = {}): Promise<Tensor> {
    checkOptions('encode', options, WORK_OPTIONS);
    await this.loadEncoder(options.signal);
    return this.model.encode(this.engine, x, options.tap);
  }

  /** Tokens of every scale, [B, ph * pw] i32. */
  async imgToIdxBl(x: Tensor, options: TokenizeOptions = {}): Promise<Tensor[]> {
    checkOptions('imgToIdxBl', options, TOKENIZE_OPTIONS);
    await this.loadEncoder(options.signal);
    return this.model.imgToIdxBl(this.engine, x, options.patchNums, options.tap);
  }

  /** f_hat [B, h, w, Cvae] after every scale. */
  async imgToFhat(x: Tensor, options: TokenizeOptions = {}): Promise<Tensor[]> {
    checkOptions('imgToFhat', options, TOKENIZE_OPTIONS);
    await this.loadEncoder(options.signal);
    return this.model.imgToFhat(this.engine, x, options.patchNums, options.tap);
  }

  /** Reconstructions [B, H, W, 3] in [-1, 1], after every scale or (one entry) after the last. */
  async imgToReconstructedImg(x: Tensor, options: TokenizeOptions & { lastOne?: boolean } = {}): Promise<Tensor[]> {
    checkOptions('imgToReconstructedImg', options, [...TOKENIZE_OPTIONS, 'lastOne']);
    const { lastOne = false, ...rest } = options;
    checkBoolean('lastOne', lastOne);
    const fHats = await this.imgToFhat(x, rest);
    const chosen = lastOne ? fHats.slice(-1) : fHats;
    const images = chosen.map((fHat) => this.model.fHatToImg(this.engine, fHat));
    for (const fHat of fHats) fHat.dispose();
    return images;
  }

  /** decoder(post_quant_conv(fHat)) clamped to [-1, 1]: [B, h, w, Cvae] to [B, 16 h, 16 w, 3]. */
  fHatToImg(fHat: Tensor, options: { tap?: Tap } = {}): Tensor {
    this.check();
    return this.model.fHatToImg(this.engine, fHat, options.tap);
  }

  /** Codeword maps [B, pn, pn, Cvae] of every scale to images. `sameShape`: all at full size; otherwise f_hat grows with the scales. */
  embedToImg(msH: readonly Tensor[], sameShape: boolean, lastOne = false): Tensor[] {
    this.check();
    return this.model.embedToImg(this.engine, msH, sameShape, lastOne);
  }

  /** Tokens [B, l] of every scale to images. */
  idxBlToImg(idxBl: readonly Tensor[], sameShape: boolean, lastOne = false, patchNums?: readonly PatchSize[]): Tensor[] {
    this.check();
    return this.model.idxBlToImg(this.engine, idxBl, sameShape, lastOne, patchNums);
  }

  /** Tokens of every scale to the teacher-forcing input [B, L - firstL, Cvae] of a VAR; null where progSi leaves nothing. */
  idxBlToVarInput(idxBl: readonly Tensor[], progSi?: number): Tensor | null {
    this.check();
    return this.model.idxBlToVarInput(this.engine, idxBl, progSi);
  }

  /** Images (bytes of a multiple of 16 pixels a side, or files, which are resized and cropped) to tokens. */
  async tokenize(images: ImageInput | readonly ImageInput[], options: TokenizeOptions = {}): Promise<Tokens> {
    checkOptions('tokenize', options, TOKENIZE_OPTIONS);
    const patchNums = options.patchNums ?? this.config.patchNums;
    const parts: Int32Array[][] = [];
    const count = await this.eachPart('tokenize', images, options, async (x, scope) => {
      parts.push(await scope.run(() => readAll(this.model.imgToIdxBl(this.engine, x, patchNums, options.tap), options.signal)));
    });
    return { count, patchNums, tokens: patchNums.map((_, si) => joinTokens(parts.map((part) => part[si]!))) };
  }

  /** Encodes, quantizes and decodes images; with `everyScale` also the images after every scale. */
  async reconstruct(
    images: ImageInput | readonly ImageInput[],
    options: TokenizeOptions & { everyScale?: boolean } = {},
  ): Promise<DecodedImages & Tokens> {
    checkOptions('reconstruct', options, [...TOKENIZE_OPTIONS, 'everyScale']);
    const everyScale = checkBoolean('everyScale', options.everyScale ?? false);
    const patchNums = options.patchNums ?? this.config.patchNums;
    const tokens: Int32Array[][] = [];
    const scales: RgbImage[][] = patchNums.map(() => []);
    const count = await this.eachPart('reconstruct', images, options, async (x, scope) => {
      const { engine, model } = this;
      const quantized = scope.run(() => model.quantize.fToScales(engine, model.encode(engine, x, options.tap), everyScale, patchNums));
      tokens.push(await readAll(quantized.idxBl, options.signal));
      await this.decodeEach(quantized.fHats, everyScale, scales, options);
    });
    const last = scales.at(-1)!;
    return {
      count,
      patchNums,
      tokens: patchNums.map((_, si) => joinTokens(tokens.map((part) => part[si]!))),
      images: last,
      scales: everyScale ? scales : [],
    };
  }

  /** Tokens of every scale, [count * ph * pw] each, to images. */
  async decode(tokens: readonly Int32Array[] | Tokens, options: DecodeOptions = {}): Promise<DecodedImages> {
    this.check();
    checkOptions('decode', options, [...TOKENIZE_OPTIONS, 'count', 'everyScale']);
    const { maps, sizes, count } = checkTokens(tokens, options, this.config);
    checkSignal(options.signal);
    const everyScale = checkBoolean('everyScale', options.everyScale ?? false);
    const scales: RgbImage[][] = maps.map(() => []);
    const [lastH, lastW] = sizes.at(-1)!;
    const side = this.model.downsample;
    const step = imagesPerPart(lastH * side, lastW * side);
    for (let at = 0; at < count; at += step) {
      const n = Math.min(step, count - at);
      const fHats = this.engine.scope(() => {
        const idx = maps.map((map, si) => {
          const l = sizes[si]![0] * sizes[si]![1];
          return this.engine.tensor(map.slice(at * l, (at + n) * l), [n, l]);
        });
        return this.model.idxBlToFhat(this.engine, idx, true, !everyScale, sizes);
      });
      await this.decodeEach(fHats, everyScale, everyScale ? scales : [scales.at(-1)!], options);
    }
    return { images: scales.at(-1)!, scales: everyScale ? scales : [] };
  }

  /** f_hat [B, h, w, Cvae] to images. */
  async decodeFhat(fHat: Tensor, options: WorkOptions = {}): Promise<RgbImage[]> {
    this.check();
    const [count, h, w] = fHat.shape as [number, number, number];
    const side = this.model.downsample;
    const step = imagesPerPart(h * side, w * side);
    const parts: Promise<RgbImage[]>[] = [];
    const scope = this.engine.openScope({ signal: options.signal });
    try {
      for (let at = 0; at < count; at += step) {
        parts.push(scope.run(() => this.readPart(fHat, at, Math.min(step, count - at), options)));
        parts.at(-1)!.catch(() => {});
        await breathe(this.engine, options.signal);
      }
      return (await Promise.all(parts)).flat();
    } finally {
      scope.close();
    }
  }

  dispose(): void {
    if (this.gone) return;
    this.gone = true;
    this.model.dispose();
    this.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  private async prepare(encoder: 'lazy' | 'eager', signal?: AbortSignal): Promise<void> {
    try {
      await this.model.loadDecoding(new WeightReader(this.engine, this.source, this.numerics, signal));
      if (encoder === 'eager') await this.loadEncoder(signal);
      await this.engine.flush();
    } catch (error) {
      this.model.dispose();
      throw error;
    }
  }

  private check(): void {
    if (this.gone) throw new DisposedError('VQVAE: used after dispose()');
  }

  private readPart(fHat: Tensor, at: number, n: number, options: WorkOptions): Promise<RgbImage[]> {
    const { engine } = this;
    const bytes = engine.scope(() => {
      const part = n === fHat.shape[0] ? fHat : engine.ops.slice(fHat, { axis: 0, start: at, size: n });
      return engine.ops.unitToImage(this.model.fHatToImg(engine, part, options.tap));
    });
    const [, height, width] = bytes.shape as [number, number, number];
    const read = bytes.read({ signal: options.signal }).then((data) => splitImages(data as Uint8Array, height, width));
    bytes.dispose();
    return read;
  }

  private async decodeEach(fHats: readonly Tensor[], everyScale: boolean, scales: RgbImage[][], options: WorkOptions): Promise<void> {
    try {
      const from = everyScale ? 0 : fHats.length - 1;
      for (let si = from; si < fHats.length; si++) {
        const images = await this.decodeFhat(fHats[si]!, options);
        scales[scales.length - fHats.length + si]!.push(...images);
      }
    } finally {
      for (const fHat of fHats) fHat.dispose();
    }
  }

  /** Runs `work` on the images part by part, as tensors [n, H, W, 3] in [-1, 1] that live as long as its scope. */
  private async eachPart(
    what: string,
    images: ImageInput | readonly ImageInput[],
    options: TokenizeOptions,
    work: (x: Tensor, scope: Scope) => Promise<void>,
  ): Promise<number> {
    this.check();
    const { signal } = options;
    checkSignal(signal);
    const { engine } = this;
    const sizes = patchSizes(options.patchNums ?? this.config.patchNums);
    const [height, width] = sizes.at(-1)!.map((n) => n * this.model.downsample) as [number, number];
    const list = Array.isArray(images) ? (images as readonly ImageInput[]) : [images as ImageInput];
    if (list.length === 0) throw new ArgumentError('images: an empty list was given, at least one image is expected');
    await this.loadEncoder(signal);
    const step = imagesPerPart(height, width);
    for (let at = 0; at < list.length; at += step) {
      const scope = engine.openScope({ signal });
      try {
        const bytes = scope.adopt(await imageBatch(engine, list.slice(at, at + step), { height, width, at, signal }));
        await work(
          scope.run(() => engine.ops.imageToUnit(bytes)),
          scope,
        );
        await breathe(engine, signal);
        engine.emit('progress', { what, done: Math.min(list.length, at + step), total: list.length });
      } finally {
        scope.close();
      }
    }
    return list.length;
  }
}

function checkEngine(engine: unknown): void {
  if (!(engine instanceof Engine)) refuse('engine', engine, 'the engine that createEngine gave');
}

function checkWinograd(tile: unknown): void {
  if (tile !== undefined && tile !== 0 && tile !== 2 && tile !== 4) refuse('winograd', tile, '0, 2 or 4');
}

async function readAll(tensors: readonly Tensor[], signal?: AbortSignal): Promise<Int32Array[]> {
  const reads = tensors.map((tensor) => tensor.read({ signal }) as Promise<Int32Array>);
  for (const tensor of tensors) tensor.dispose();
  return await Promise.all(reads);
}
