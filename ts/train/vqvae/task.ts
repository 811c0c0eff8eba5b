import { Tape } from '../../autograd/index.js';
import { OrderedDict, PyTuple } from '../../checkpoint/index.js';
import { CheckpointError, ShapeError } from '../../core/errors.js';
import type { ImageBatch } from '../../data/index.js';
import type { Engine, Tensor } from '../../engine/index.js';
import { breathe } from '../../models/var/index.js';
import { quantizeTrain, VqvaeModel, winogradTile } from '../../models/vqvae/index.js';
import { checkKeys, InitSource, Parameters, type ParamSpec, type WeightSource, zeros } from '../../nn/index.js';
import { savedWeights } from '../saved.js';
import { type StepInput, type StepOutputs, type StepProgram, upload } from '../step-program.js';
import type { Metrics, StateValue, StepInfo, StepResult, Task, TaskImage } from '../task.js';
import { startCodes } from './codebook.js';
import { evaluateVqvae, reconstructionGrid } from './evaluate.js';
import { imageErrors, psnrOf, vqvaeLoss } from './losses.js';
import { CODEBOOK, HITS, PHI } from './names.js';
import { type VqvaeTraining, type VqvaeTrainOptions, vqvaeTraining } from './options.js';
import { deadCodes, replaceCodes } from './restart.js';
import { readUsage, writeUsage } from './saved-usage.js';
import { CodebookUsage } from './usage.js';

/** What a forward pass gives: the loss, it and its terms together, tokens, images, reconstructions, and the vectors that were looked up. */
interface Forward extends StepOutputs {
  readonly values: Tensor;
  readonly tokens: Tensor;
  readonly x: Tensor;
  readonly rec: Tensor;
  readonly residuals: Tensor | undefined;
}

/**
 * Training of the multi-scale VQVAE: reconstruction, quantizer loss, codebook health. The codebook starts by k-means of the residuals of
 * all scales; codes that nothing is nearest to start anew from residuals of the last batch.
 */
export class VqvaeTask implements Task<ImageBatch> {
  readonly family = 'vqvae';
  readonly head = 'VAE';
  readonly best = { metric: 'psnr', smaller: false } as const;
  readonly noDecay = vqvaeNoDecay;
  /** Called after codes were replaced: whoever holds moments of these rows clears them. */
  onCodesReplaced: ((name: string, rows: Int32Array) => void) | undefined;
  readonly usage: CodebookUsage;
  private recent: Tensor | undefined;
  private shown: ImageBatch | undefined;
  private restarted = 0;
  /** Of the loss and its terms, in the order of `values`. */
  private names: readonly string[] = [];

  private constructor(
    readonly engine: Engine,
    readonly settings: VqvaeTraining,
    readonly model: VqvaeModel,
    readonly params: Parameters,
  ) {
    this.usage = new CodebookUsage(settings.config.patchNums, settings.config.vocabSize);
  }

  /** A task with the weights of `source`, or with seeded random ones. Throws ArgumentError or CheckpointError. */
  static async create(engine: Engine, options: VqvaeTrainOptions = {}, source?: WeightSource): Promise<VqvaeTask> {
    const settings = vqvaeTraining(options);
    const model = new VqvaeModel(settings.config, { winograd: winogradTile(engine, settings.winograd), eini: settings.eini });
    const specs = model.parameters();
    if (source) checkKeys('VQVAE', specs, source);
    const start = source ?? new InitSource(settings.phiIdentity ? specs.map(identityPhi) : specs, settings.seed);
    const params = await Parameters.create(engine, specs, start, { noDecay: vqvaeNoDecay });
    return new VqvaeTask(engine, settings, model, params);
  }

  async prepare(batches: AsyncIterable<ImageBatch>, signal?: AbortSignal): Promise<void> {
    const { kmeans } = this.settings;
    if (kmeans) await startCodes(this, kmeans, batches, signal);
  }

  async step(batch: ImageBatch, info: StepInfo): Promise<StepResult> {
    return await this.program(batch, info).plain();
  }

  program(batch: ImageBatch, info: StepInfo): StepProgram {
    this.shown ??= this.someOf(batch);
    const input = this.pixelsOf(batch);
    const images = input.shape[0]!;
    const quantized = info.gIt >= this.settings.quantizeFrom;
    return {
      key: `${images} ${quantized ? 'quantized' : 'features'}`,
      inputs: { pixels: input },
      plain: () => this.plain(input, info),
      calls: ({ pixels }, scale) => this.calls(pixels!, info, scale),
      finish: (outputs) => this.finish(outputs as Forward, info, images),
    };
  }

  private async plain(input: StepInput, info: StepInfo): Promise<StepResult> {
    const { engine, settings } = this;
    const tape = new Tape(engine, { signal: info.signal });
    try {
      const sections = this.forward(tape, info, () => upload(engine, { input }).input!);
      let forward = tape.run(() => sections.next());
      while (!forward.done) {
        await breathe(engine, info.signal);
        forward = tape.run(() => sections.next());
      }
      const { value } = forward;
      // Reads begin before the backward pass: they wait for the forward pass alone.
      const reads = tape.run(() => ({ promise: this.read(value, info, input.shape[0]!) })).promise;
      reads.catch(() => {});
      this.keepResiduals(value.residuals);
      await tape.backward(value.loss, { scale: info.lossScale });
      return await reads;
    } catch (error) {
      // The error of a cancelled command would stick to gradients and residuals.
      this.params.renewGrads();
      this.dropRecent();
      throw error;
    } finally {
      tape.close();
      this.model.dispose();
      if (!settings.restart) this.dropRecent();
    }
  }

  private calls(pixels: Tensor, info: StepInfo, scale: Tensor): Forward {
    const tape = new Tape(this.engine);
    try {
      const sections = this.forward(tape, info, () => pixels);
      let forward = sections.next();
      while (!forward.done) forward = sections.next();
      tape.backwardNow(forward.value.loss, { scale });
      return forward.value;
    } finally {
      tape.close();
      this.model.dispose();
    }
  }

  private async finish(forward: Forward, info: StepInfo, images: number): Promise<StepResult> {
    this.keepResiduals(forward.residuals);
    return await this.read(forward, info, images);
  }

  async afterStep(info: StepInfo, skipped: boolean): Promise<readonly string[]> {
    const { restart, seed } = this.settings;
    const { recent } = this;
    if (restart && recent && !skipped) {
      const rows = deadCodes(this.usage, restart, info.gIt);
      if (rows.length > 0) {
        replaceCodes(this.engine, this.params.get(CODEBOOK), recent, rows, seed, info.gIt);
        this.usage.replaced(rows, info.gIt);
        this.onCodesReplaced?.(CODEBOOK, rows);
        this.restarted += rows.length;
      }
    }
    this.dropRecent();
    return [];
  }

  async evaluate(batches: AsyncIterable<ImageBatch>, signal?: AbortSignal): Promise<Metrics> {
    return await evaluateVqvae(this, batches, (batch) => (this.shown = this.someOf(batch)), signal);
  }

  endEpoch(): { metrics: Metrics; warnings: readonly string[] } {
    const { metrics, warnings } = this.usage.endEpoch(`${this.head}_ep`);
    metrics[`${this.head}_ep/restarted`] = this.restarted;
    this.restarted = 0;
    return { metrics, warnings };
  }

  /** Originals in the first column, then their reconstructions after every scale. */
  async images(signal?: AbortSignal): Promise<TaskImage[]> {
    if (!this.shown || this.settings.shown === 0) return [];
    const grid = await reconstructionGrid(this, this.shown, signal);
    return [{ tag: `${this.head}_images/reconstruction`, ...grid }];
  }

  async state(): Promise<Record<string, StateValue>> {
    const { config } = this.settings;
    const { ema } = this.usage;
    this.params.setBuffer(HITS, this.engine.tensor(ema, [config.patchNums.length, config.vocabSize]));
    return {
      config: this.describe(),
      vae_local: new OrderedDict(this.params.stateDict()),
      codebook: { ...writeUsage(this.usage.state()), restarted: this.restarted },
    };
  }

  async restore(state: Record<string, StateValue>): Promise<void> {
    const saved = (state.config ?? {}) as Record<string, unknown>;
    for (const [name, own] of Object.entries(this.describe()))
      if (plain(saved[name]) !== plain(own))
        throw new CheckpointError(`${name} of the saved run is ${plain(saved[name])}, of this one ${plain(own)}`, { file: '', key: name });
    const weights = savedWeights('vae_local', state.vae_local);
    await this.params.load(weights);
    const { usage, restarted } = await readUsage(state.codebook);
    using hits = await weights.load(this.engine, HITS, { dtype: 'f32' });
    this.usage.restore(usage, (await hits.read()) as Float32Array);
    this.restarted = restarted;
  }

  dispose(): void {
    this.dropRecent();
    this.model.dispose();
    this.params.dispose();
  }

  /** Bytes of a batch as images in [-1, 1], [B, H, W, 3]; throws ShapeError where they do not fit the model. */
  images3(batch: ImageBatch): Tensor {
    const { engine } = this;
    const { data, shape } = this.pixelsOf(batch);
    return engine.scope(() => engine.ops.imageToUnit(engine.tensor(data, shape)));
  }

  private pixelsOf({ pixels, reso }: ImageBatch): StepInput {
    const wanted = this.settings.config.patchNums.at(-1)! * this.model.downsample;
    if (reso !== wanted) throw new ShapeError(`images are ${reso} pixels wide, patchNums and chMult ask for ${wanted}`);
    return { data: pixels, shape: [pixels.length / (reso * reso * 3), reso, reso, 3] };
  }

  // In sections, between which timers and I/O get their turn where the calls are not recorded.
  private *forward(tape: Tape, info: StepInfo, pixels: () => Tensor): Generator<undefined, Forward, undefined> {
    const { settings, model, params, engine } = this;
    const { config, checkpointing, precision, entropyWeight, entropyTemperature, quantizeFrom, restart } = settings;
    params.bind(tape, model, { precision });
    const x = engine.ops.imageToUnit(pixels());
    yield;
    const f = model.encode(tape, x, undefined, checkpointing);
    yield;
    const entropy = entropyWeight > 0 ? { temperature: entropyTemperature } : undefined;
    const q = quantizeTrain(tape, model.quantize, config, f, { residuals: restart !== false && info.stepping, entropy });
    yield;
    const rec = model.decode(tape, info.gIt < quantizeFrom ? f : q.fHat, undefined, checkpointing);
    const { loss, parts } = vqvaeLoss(tape, settings, x, rec, q);
    this.names = ['loss', ...parts.keys()];
    const values = [...parts.values()].reduce((joined, part) => engine.ops.concat(joined, part, { axis: 0 }), loss);
    const { tokens, residuals } = q;
    return { loss, values, tokens, x, rec, residuals };
  }

  /** Reads what a step has given and counts it. */
  private async read({ values, tokens, x, rec }: Forward, info: StepInfo, images: number): Promise<StepResult> {
    const { engine } = this;
    const errors = info.log || info.detailed ? engine.scope(() => ({ promise: imageErrors(engine, x, rec).read() })).promise : null;
    const [numbers, used, wrong] = await Promise.all([values.read(), tokens.read(), errors]);
    const loss = Number(numbers[0]);
    if (Number.isFinite(loss)) this.usage.record(used as Int32Array, info.gIt);
    const metrics: Metrics = Object.fromEntries(this.names.map((name, i) => [name, Number(numbers[i])]));
    if (wrong) metrics.psnr = psnrOf(wrong as Float32Array);
    return { loss, metrics: info.log ? metrics : {}, ...(info.detailed ? { scalars: this.scalars(metrics, images) } : {}) };
  }

  private scalars(metrics: Metrics, images: number): Metrics {
    const { patchNums } = this.settings.config;
    const usages = this.usage.usages(images * patchNums.at(-1)! ** 2);
    const scalars: Metrics = {};
    for (const [name, value] of Object.entries(metrics)) scalars[`${this.head}_iter_loss/${name}`] = value;
    for (const [si, usage] of usages.entries()) scalars[`${this.head}_iter_codebook/usage_${patchNums[si]}`] = usage;
    return scalars;
  }

  /** What the shapes of the weights do not tell. */
  private describe(): Record<string, StateValue> {
    const { patchNums, normGroups, beta, usingZnorm, quantResi } = this.settings.config;
    return { patch_nums: new PyTuple([...patchNums]), norm_groups: normGroups, beta, using_znorm: usingZnorm, quant_resi: quantResi };
  }

  private keepResiduals(residuals: Tensor | undefined): void {
    if (!residuals) return;
    this.dropRecent();
    this.recent = this.engine.view(residuals, 0, residuals.shape);
  }

  private dropRecent(): void {
    this.recent?.dispose();
    this.recent = undefined;
  }

  private someOf({ pixels, reso, labels, indices, kind }: ImageBatch): ImageBatch {
    const n = Math.min(this.settings.shown, labels.length);
    return { kind, reso, pixels: pixels.slice(0, n * reso * reso * 3), labels: labels.slice(0, n), indices: indices.slice(0, n) };
  }
}

/** As filter_params of the reference, and the codebook: its rows must not shrink while they are not hit. */
export function vqvaeNoDecay(name: string, shape: readonly number[]): boolean {
  return shape.length === 1 || name.endsWith('bias') || name === CODEBOOK;
}

/** phi(h) = h: the convolution passes its middle on. */
function identityPhi(spec: ParamSpec): ParamSpec {
  if (!spec.name.startsWith(PHI)) return spec;
  const [o, , kh, kw] = spec.shape as [number, number, number, number];
  if (spec.shape.length === 1) return { ...spec, init: zeros };
  const values = new Float32Array(o * o * kh * kw);
  for (let c = 0; c < o; c++) values[(c * o + c) * kh * kw + (kh * kw - 1) / 2] = 1;
  return { ...spec, init: { kind: 'values', values: () => values } };
}

function plain(value: unknown): string {
  const list: unknown = value instanceof PyTuple ? value.items : value;
  return Array.isArray(list) ? list.join('_') : String(list);
}
