import { checkBoolean, checkFunction, checkInt, checkNumber, checkOptions, checkSignal, refuse, throwIfAborted } from '../core/check.js';
import { ArgumentError, DisposedError } from '../core/errors.js';
import { Philox } from '../core/philox.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { Tap } from '../models/tap.js';
import {
  checkPairing,
  generateFhat,
  inferVarConfig,
  presetConfig,
  type VarConfig,
  type VarInitOptions,
  VarModel,
  type VarPresetName,
  varConfig,
} from '../models/var/index.js';
import { checkKeys, InitSource, WeightReader, type WeightSource } from '../nn/index.js';
import { type GenerateResult, Generation, type GenerationWork, type ScalePreview } from './generation.js';
import { PyramidGraphs } from './graph.js';
import type { RgbImage } from './image.js';
import { checkNumerics, NUMERICS_OPTIONS, type NumericsOptions } from './numerics.js';
import { type CheckedRequest, checkRequest, type GenerateOptions } from './options.js';
import { openWeights, VAR_FAMILY, type WeightInput } from './source.js';
import { VQVAE } from './vqvae.js';

export interface VarLoadOptions extends NumericsOptions {
  /** The VQVAE that the VAR was trained with; it is not disposed with the VAR. */
  vqvae: VQVAE;
  /** What is asked for is compared with what the file holds. */
  preset?: VarPresetName;
  config?: Partial<VarConfig>;
  signal?: AbortSignal;
}

export interface VarCreateOptions extends VarInitOptions, NumericsOptions {
  vqvae: VQVAE;
  preset?: VarPresetName;
  config?: Partial<VarConfig>;
  seed?: number;
  signal?: AbortSignal;
}

export interface GenerateCall extends GenerateOptions {
  signal?: AbortSignal;
  /** Called after every scale. What it throws, or the promise it returns rejects with, ends the generation. */
  onScale?: (preview: ScalePreview) => unknown;
  /** Decode the images of every scale; default: where the generation is iterated over. */
  scalePreviews?: boolean;
  /** Gumbel noise [B * l * V] per scale for moreSmooth, in place of drawn numbers. */
  noise?: readonly Float32Array[];
  /**
   * Run transformer, sampling and decoder as one recorded graph, kept per batch size: no JavaScript between the kernels, and no look at the
   * scales before the end. Default: on cuda, where neither previews nor onScale, noise or tap are asked for.
   */
  graph?: boolean;
  /** Inspection hook, see Tap: scale<i>/logits_cond, logits_uncond, logits_mixed, idx, h, f_hat, next_token_map; image. */
  tap?: Tap;
}

export interface ForwardCall {
  /** Progressive training: only scales 0..progSi; -1: all. */
  progSi?: number;
  /** Probability of replacing a label by the unconditional class, drawn from `seed`; default 0. */
  condDropRate?: number;
  seed?: number;
  tap?: Tap;
}

const GENERATE_OPTIONS: readonly (keyof GenerateCall)[] = [
  'labels',
  'count',
  'seed',
  'cfg',
  'topK',
  'topP',
  'moreSmooth',
  'perImage',
  'signal',
  'onScale',
  'scalePreviews',
  'noise',
  'graph',
  'tap',
];

const INIT_OPTIONS: readonly (keyof VarCreateOptions)[] = [
  'vqvae',
  'preset',
  'config',
  ...NUMERICS_OPTIONS,
  'seed',
  'signal',
  'initAdaln',
  'initAdalnGamma',
  'initHead',
  'initStd',
];

/** Random stream of the label drop. */
const LABEL_DROP = 0x64726f70;

/** A VAR transformer on an engine, with the VQVAE that gives its tokens meaning. */
export class VAR {
  private disposed = false;
  private readonly graphs: PyramidGraphs;

  private constructor(
    readonly engine: Engine,
    /** The graph, for work on tensors. */
    readonly model: VarModel,
    readonly vqvae: VQVAE,
  ) {
    this.graphs = new PyramidGraphs(engine, model, vqvae.model);
  }

  /**
   * Loads a state dict under the reference's names; depth, width, classes and variants are read from it. Throws CheckpointError (file
   * broken, keys missing or unexpected) or ArgumentError (the VQVAE, the preset or the config do not fit; the message names what does).
   */
  static async load(engine: Engine, input: WeightInput, options: VarLoadOptions): Promise<VAR> {
    checkOptions('VAR.load', options, ['vqvae', 'preset', 'config', ...NUMERICS_OPTIONS, 'signal']);
    const vqvae = checkVqvae(engine, options?.vqvae);
    checkSignal(options.signal);
    const numerics = checkNumerics(options, engine, 'VAR');
    const { source, owned } = await openWeights(input, VAR_FAMILY);
    try {
      const asked = { ...(options.preset ? presetFields(options.preset) : {}), ...options.config };
      const config = await inferVarConfig(source, asked, vqvae.config, () => levelCounts(engine, source));
      checkPairing(config, vqvae.config, source.path);
      const model = new VarModel(config);
      checkKeys('VAR', model.parameters(), source);
      return await VAR.build(engine, model, vqvae, new WeightReader(engine, source, numerics, options.signal));
    } finally {
      owned?.close();
    }
  }

  /** A model of seeded random weights, distributed as the reference starts them. */
  static async init(engine: Engine, options: VarCreateOptions): Promise<VAR> {
    checkOptions('VAR.init', options, INIT_OPTIONS);
    const vqvae = checkVqvae(engine, options?.vqvae);
    const { preset, config, seed = 0, signal, initAdaln, initAdalnGamma, initHead, initStd } = options;
    const init = { initAdaln, initAdalnGamma, initHead, initStd };
    for (const [name, value] of Object.entries(init)) if (value !== undefined) checkNumber(name, value, -1e6, 1e6);
    checkInt('seed', seed, 0, Number.MAX_SAFE_INTEGER);
    checkSignal(signal);
    const numerics = checkNumerics(options, engine, 'VAR');
    const { vocabSize, zChannels, patchNums } = vqvae.config;
    const base = preset ? presetConfig(preset) : {};
    const full = varConfig({ ...base, ...(preset ? {} : { vocabSize, zChannels, patchNums }), ...config });
    checkPairing(full, vqvae.config, 'the configuration');
    const model = new VarModel(full, init);
    return await VAR.build(engine, model, vqvae, new WeightReader(engine, new InitSource(model.parameters(), seed), numerics, signal));
  }

  private static async build(engine: Engine, model: VarModel, vqvae: VQVAE, reader: WeightReader): Promise<VAR> {
    try {
      await model.load(reader, (done, total) => engine.emit('progress', { what: 'load', done, total }));
      await engine.flush();
      return new VAR(engine, model, vqvae);
    } catch (error) {
      model.dispose();
      throw error;
    }
  }

  get config(): VarConfig {
    return this.model.config;
  }

  /**
   * Generates images by classifier-free guidance (VAR, section 3.3). Await the result, or iterate for the state after every scale. Wrong
   * options reject with ArgumentError, an aborted signal with AbortError; the engine stays usable. The same seed gives the same image
   * alone and in any batch, for any number of threads.
   */
  generate(options: GenerateCall = {}): Generation {
    const work: GenerationWork = async (context) => {
      this.check();
      checkOptions('generate', options, GENERATE_OPTIONS);
      checkSignal(options.signal);
      checkFunction('onScale', options.onScale);
      checkFunction('tap', options.tap);
      checkBoolean('scalePreviews', options.scalePreviews ?? false);
      const request = checkRequest(options, this.config);
      checkNoise(options, request.labels.length, this.config);
      return await (this.asGraph(options, context.previews) ? this.replay(request, context) : this.run(request, options, context));
    };
    return new Generation(work, options?.scalePreviews, options?.signal);
  }

  /** Teacher-forced logits [B, L, V]; labels are 0..numClasses, x [B, L - firstL, Cvae] comes from vqvae.idxBlToVarInput. */
  forward(labels: readonly number[] | Int32Array, x: Tensor | null, options: ForwardCall = {}): Tensor {
    this.check();
    checkOptions('forward', options, ['progSi', 'condDropRate', 'seed', 'tap']);
    if (!Array.isArray(labels) && !(labels instanceof Int32Array)) refuse('labels', labels, 'a list of labels');
    if (labels.length === 0) throw new ArgumentError('labels: an empty list was given, at least one label is expected');
    const { condDropRate = 0, seed = 0, ...rest } = options;
    checkNumber('condDropRate', condDropRate, 0, 1);
    const random = new Philox(checkInt('seed', seed, 0, Number.MAX_SAFE_INTEGER), LABEL_DROP);
    const { numClasses } = this.config;
    const kept = Int32Array.from(labels, (label, i) => {
      checkInt(`labels[${i}]`, label, 0, numClasses);
      return random.uniform() < condDropRate ? numClasses : label;
    });
    return this.model.forward(this.engine, kept, x, rest);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.graphs.dispose();
    this.model.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  private check(): void {
    if (this.disposed) throw new DisposedError('VAR: used after dispose()');
    if (this.vqvae.disposed) throw new DisposedError('VAR: its VQVAE was disposed');
  }

  /** Whether a generation runs as one graph; refuses what a graph cannot give. */
  private asGraph(options: GenerateCall, previews: boolean): boolean {
    const inTheWay =
      (['onScale', 'noise', 'tap'] as const).find((name) => options[name] !== undefined) ?? (previews ? 'previews' : undefined);
    if (options.graph === undefined) return this.engine.device === 'cuda' && !inTheWay;
    if (checkBoolean('graph', options.graph) && inTheWay) throw new ArgumentError(`graph: a recorded graph gives no ${inTheWay}`);
    return options.graph;
  }

  private async replay(request: CheckedRequest, context: Parameters<GenerationWork>[0]): Promise<GenerateResult> {
    const { engine } = this;
    const { patchNums } = this.config;
    throwIfAborted(context.signal);
    const started = performance.now();
    const { tokens, images } = await this.graphs.run(request, context.signal);
    engine.emit('progress', { what: 'generate', done: patchNums.length, total: patchNums.length });
    const total = performance.now() - started;
    return { images, tokens, patchNums, labels: [...request.labels], seed: request.seed, timings: { scales: [], decode: 0, total } };
  }

  private async run(request: CheckedRequest, options: GenerateCall, context: Parameters<GenerationWork>[0]): Promise<GenerateResult> {
    const { engine, vqvae } = this;
    const { patchNums } = this.config;
    const { signal } = context;
    const started = performance.now();
    const scales: Promise<ScalePreview>[] = [];
    const onScale = (si: number, idx: Tensor, fHat: Tensor) => {
      const tokens = idx.read({ signal }) as Promise<Int32Array>;
      const images = context.previews ? this.preview(fHat, signal) : Promise.resolve([]);
      const state = Promise.all([tokens, images]).then(async ([tokens, images]) => {
        const preview = { scale: si, of: patchNums.length, patchNum: patchNums[si]!, tokens, images, ms: performance.now() - started };
        engine.emit('scale', { scale: si, of: preview.of, patchNum: preview.patchNum });
        engine.emit('progress', { what: 'generate', done: si + 1, total: preview.of });
        const told = options.onScale?.(preview);
        context.emit(preview);
        await told;
        return preview;
      });
      state.catch(context.fail);
      scales.push(state);
    };
    const scope = engine.openScope({ signal });
    try {
      const batch = { ...request, noise: options.noise };
      const fHat = scope.adopt(await generateFhat(engine, this.model, vqvae.model, batch, { scope, signal, tap: options.tap, onScale }));
      if (options.tap) this.tapImage(fHat, options.tap);
      const decoded = vqvae.decodeFhat(fHat, { signal });
      decoded.catch(() => {});
      const previews = await Promise.all(scales);
      const images = await decoded;
      throwIfAborted(signal);
      const times = previews.map((p) => p.ms);
      return {
        images,
        tokens: previews.map((p) => p.tokens),
        patchNums,
        labels: [...request.labels],
        seed: request.seed,
        timings: timingsOf(times, performance.now() - started),
      };
    } finally {
      scope.close();
    }
  }

  /** f_hat goes on changing, so the decoder gets a copy. */
  private async preview(fHat: Tensor, signal: AbortSignal): Promise<RgbImage[]> {
    const scope = this.engine.openScope({ signal });
    try {
      const copy = scope.run(() => this.engine.ops.reshape(fHat, { shape: fHat.shape }));
      return await this.vqvae.decodeFhat(copy, { signal });
    } finally {
      scope.close();
    }
  }

  private tapImage(fHat: Tensor, tap: Tap): void {
    const { engine } = this;
    engine.scope(() => tap('image', engine.ops.affine(this.vqvae.model.fHatToImg(engine, fHat), { mul: 0.5, add: 0.5 })));
  }
}

/** `ends` are milliseconds from the start to the end of every scale. */
function timingsOf(ends: readonly number[], total: number): GenerateResult['timings'] {
  return { scales: ends.map((ms, i) => ms - (ends[i - 1] ?? 0)), decode: total - ends.at(-1)!, total };
}

function checkVqvae(engine: Engine, vqvae: unknown): VQVAE {
  if (!(vqvae instanceof VQVAE))
    throw new ArgumentError('vqvae: a loaded VQVAE is expected (VQVAE.load or VQVAE.init), the one the VAR was trained with');
  if (vqvae.disposed) throw new DisposedError('vqvae: used after dispose()');
  if (vqvae.engine !== engine) throw new ArgumentError('vqvae: it belongs to another engine');
  return vqvae;
}

/** What a preset says about a file; width and heads follow from the depth. */
function presetFields(name: VarPresetName): Partial<VarConfig> {
  const { depth, embedDim, sharedAln, patchNums } = presetConfig(name);
  return { depth, embedDim, sharedAln, patchNums };
}

/** Tokens per scale as the buffer lvl_1L tells them. */
async function levelCounts(engine: Engine, source: WeightSource): Promise<number[] | null> {
  if (!source.has('lvl_1L')) return null;
  const tensor = await source.load(engine, 'lvl_1L', { dtype: 'i32' });
  const levels = await tensor.read().finally(() => tensor.dispose());
  const counts: number[] = [];
  for (const level of levels) {
    if (level < 0 || level > 1024) return null;
    counts[level] = (counts[level] ?? 0) + 1;
  }
  return Array.from(counts, (n) => n ?? 0);
}

function checkNoise(options: GenerateCall, count: number, config: VarConfig): void {
  const { noise } = options;
  if (noise === undefined) return;
  const sizes = config.patchNums.map((pn) => count * pn * pn * config.vocabSize);
  if (
    !Array.isArray(noise) ||
    noise.length !== sizes.length ||
    noise.some((n, si) => !(n instanceof Float32Array) || n.length !== sizes[si])
  )
    refuse('noise', noise, `a Float32Array per scale, of ${sizes.join(', ')} numbers`);
}
