import { Tape } from '../../autograd/index.js';
import { OrderedDict, PyTuple } from '../../checkpoint/index.js';
import { CheckpointError, ShapeError } from '../../core/errors.js';
import type { ImageBatch } from '../../data/index.js';
import type { Engine, Tensor } from '../../engine/index.js';
import { breathe } from '../../models/var/index.js';
import { type QuantizeTrain, quantizeTrain, VqvaeModel } from '../../models/vqvae/index.js';
import { checkKeys, InitSource, Parameters, type ParamSpec, type WeightSource, zeros } from '../../nn/index.js';
import { savedWeights } from '../saved.js';
import type { Metrics, StateValue, StepInfo, StepResult, Task, TaskImage } from '../task.js';
import { startCodes } from './codebook.js';
import { evaluateVqvae, reconstructionGrid } from './evaluate.js';
import { imageErrors, type Losses, psnrOf, vqvaeLoss } from './losses.js';
import { CODEBOOK, HITS, PHI } from './names.js';
import { type VqvaeTraining, type VqvaeTrainOptions, vqvaeTraining } from './options.js';
import { deadCodes, replaceCodes } from './restart.js';
import { readUsage, writeUsage } from './saved-usage.js';
import { CodebookUsage } from './usage.js';

/** What a step has enqueued, and the values it waits for. */
interface Forward {
  readonly loss: Tensor;
  readonly names: readonly string[];
  readonly q: QuantizeTrain;
  readonly values: Promise<ArrayLike<number>>;
  readonly errors: Promise<ArrayLike<number>> | null;
  readonly tokens: Promise<ArrayLike<number>>;
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
    const model = new VqvaeModel(settings.config, { winograd: settings.winograd, eini: settings.eini });
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
    const { engine, settings } = this;
    this.shown ??= this.someOf(batch);
    const tape = new Tape(engine, { signal: info.signal });
    try {
      const forward = await this.forward(tape, batch, info);
      this.keepResiduals(forward.q);
      await tape.backward(forward.loss, { scale: info.lossScale });
      const [values, errors, tokens] = await Promise.all([forward.values, forward.errors, forward.tokens]);
      const loss = values[0]!;
      if (Number.isFinite(loss)) this.usage.record(tokens as Int32Array, info.gIt);
      const metrics: Metrics = Object.fromEntries(forward.names.map((name, i) => [name, values[i]!]));
      if (errors) metrics.psnr = psnrOf(errors);
      return { loss, metrics: info.log ? metrics : {}, ...(info.detailed ? { scalars: this.scalars(metrics, batch) } : {}) };
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
    const { engine, model, settings } = this;
    const { pixels, reso } = batch;
    const wanted = settings.config.patchNums.at(-1)! * model.downsample;
    if (reso !== wanted) throw new ShapeError(`images are ${reso} pixels wide, patchNums and chMult ask for ${wanted}`);
    const b = pixels.length / (reso * reso * 3);
    return engine.scope(() => engine.ops.imageToUnit(engine.tensor(pixels, [b, reso, reso, 3])));
  }

  // In sections, between which timers and I/O get their turn.
  private async forward(tape: Tape, batch: ImageBatch, info: StepInfo): Promise<Forward> {
    const { settings, model, params, engine } = this;
    const { config, checkpointing, entropyWeight, entropyTemperature, quantizeFrom, restart } = settings;
    const pause = async () => await breathe(engine, info.signal);
    const x = tape.run(() => {
      params.bind(tape, model);
      return this.images3(batch);
    });
    await pause();
    const f = tape.run(() => model.encode(tape, x, undefined, checkpointing));
    await pause();
    const entropy = entropyWeight > 0 ? { temperature: entropyTemperature } : undefined;
    const residuals = restart !== false && info.stepping;
    const q = tape.run(() => quantizeTrain(tape, model.quantize, config, f, { residuals, entropy }));
    await pause();
    return tape.run(() => {
      const rec = model.decode(tape, info.gIt < quantizeFrom ? f : q.fHat, undefined, checkpointing);
      const losses = vqvaeLoss(tape, settings, x, rec, q);
      const errors = info.log || info.detailed ? imageErrors(engine, x, rec).read() : null;
      return { loss: losses.loss, q, errors, ...this.valuesOf(losses, q, errors) };
    });
  }

  // Reads begin before the backward pass: they wait for the forward pass alone.
  private valuesOf({ loss, parts }: Losses, q: QuantizeTrain, errors: Promise<unknown> | null) {
    const { ops } = this.engine;
    const all = [...parts.values()].reduce((joined, part) => ops.concat(joined, part, { axis: 0 }), loss);
    const values = all.read();
    const tokens = q.tokens.read();
    for (const read of [values, tokens, errors]) read?.catch(() => {});
    return { names: ['loss', ...parts.keys()], values, tokens };
  }

  private scalars(metrics: Metrics, batch: ImageBatch): Metrics {
    const { patchNums } = this.settings.config;
    const usages = this.usage.usages((batch.pixels.length / (batch.reso * batch.reso * 3)) * patchNums.at(-1)! ** 2);
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

  private keepResiduals({ residuals }: QuantizeTrain): void {
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
