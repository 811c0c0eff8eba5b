import { Tape } from '../../autograd/index.js';
import { OrderedDict, PyFloat, PyTuple } from '../../checkpoint/index.js';
import { ArgumentError } from '../../core/errors.js';
import type { ImageBatch, TokenBatch } from '../../data/index.js';
import type { Engine, Graph, Tensor } from '../../engine/index.js';
import { VarModel } from '../../models/var/index.js';
import { type VqvaeConfig, VqvaeModel, vqvaeConfig, winogradTile } from '../../models/vqvae/index.js';
import { checkKeys, InitSource, Parameters, type WeightSource } from '../../nn/index.js';
import { noDecayRule } from '../../optim/index.js';
import { SavedTensor, savedWeights } from '../saved.js';
import { type InputTensors, type StepInputs, type StepOutputs, type StepProgram, upload } from '../step-program.js';
import type { Metrics, StateValue, StepInfo, StepResult, Task, TaskImage } from '../task.js';
import { type DropKey, dropLabels, dropPaths } from './drops.js';
import { Evaluation } from './evaluation.js';
import { countPredictions, detailedScalars, meanAndTail, type TokenResults, vocabUsage } from './metrics.js';
import { type VarTraining, type VarTrainOptions, varTraining } from './options.js';
import { lossWeights, Progressive, type Stage } from './progressive.js';
import { sampleGrid } from './samples.js';
import { batchInputs, joinTokens, tokensFrom, tokensOf } from './tokens.js';

/** The frozen tokenizer of a VAR. */
export interface VqvaeInput {
  readonly config?: Partial<VqvaeConfig>;
  readonly weights: WeightSource;
}

/** What a forward pass has enqueued. */
interface Forward extends StepOutputs {
  /** Per token, [B, l]. */
  readonly losses: Tensor;
  readonly logits: Tensor;
  readonly target: Tensor;
}

/**
 * Training of VAR (Tian et al. 2024, section 3) on the tokens of a frozen VQVAE: teacher forcing, label smoothing, per-scale weights,
 * progressive training, label drop and stochastic depth, with the metrics of the reference's trainer.
 */
export class VarTask implements Task {
  readonly family = 'var';
  readonly head = 'AR';
  readonly best = { metric: 'vL_tail', smaller: true } as const;
  readonly noDecay = varNoDecay;
  /** Image sides of the scales. */
  readonly resos: readonly number[];
  private readonly progressive: Progressive;
  /** How often each code was predicted in the logged iterations of the epoch. */
  private predicted: Float64Array;

  private constructor(
    readonly engine: Engine,
    readonly settings: VarTraining,
    readonly model: VarModel,
    readonly params: Parameters,
    readonly vqvae: VqvaeModel,
    private readonly vqvaeParams: Parameters,
  ) {
    this.resos = settings.config.patchNums.map((pn) => pn * vqvae.downsample);
    this.progressive = new Progressive(settings.config.patchNums.length, settings.progressive);
    this.predicted = new Float64Array(settings.config.vocabSize);
  }

  /**
   * A task with the VAR weights of `source`, or with seeded random ones; the VQVAE is loaded once and not trained. Throws ArgumentError or
   * CheckpointError.
   */
  static async create(engine: Engine, vqvae: VqvaeInput, options: VarTrainOptions = {}, source?: WeightSource): Promise<VarTask> {
    // Mostly its encoder is used: the smaller transform in the decoder too.
    const tokenizer = new VqvaeModel(vqvaeConfig(vqvae.config ?? {}), { winograd: winogradTile(engine, 2) });
    const settings = varTraining(options, tokenizer.config);
    const model = new VarModel(settings.config, settings.init);
    const specs = model.parameters();
    checkKeys('VQVAE', tokenizer.parameters(), vqvae.weights);
    if (source) checkKeys('VAR', specs, source);
    const frozen = await Parameters.create(engine, tokenizer.parameters(), vqvae.weights, { grads: false });
    try {
      const params = await Parameters.create(engine, specs, source ?? new InitSource(specs, settings.seed), { noDecay: varNoDecay });
      frozen.bind(engine, tokenizer);
      return new VarTask(engine, settings, model, params, tokenizer, frozen);
    } catch (error) {
      frozen.dispose();
      throw error;
    }
  }

  async step(batch: ImageBatch | TokenBatch, info: StepInfo): Promise<StepResult> {
    return await this.program(batch, info).plain();
  }

  program(batch: ImageBatch | TokenBatch, info: StepInfo): StepProgram {
    const stage = this.progressive.advance(info);
    const inputs = this.inputsOf(batch, info, stage);
    return {
      key: `${batch.kind} ${batch.labels.length} ${stage.progSi}`,
      inputs,
      plain: () => this.plain(inputs, info, stage),
      calls: (tensors, scale) => this.calls(tensors, stage, scale),
      finish: (outputs) => this.finish(outputs as Forward, info, stage),
    };
  }

  private async plain(inputs: StepInputs, info: StepInfo, stage: Stage): Promise<StepResult> {
    const { engine } = this;
    const tape = new Tape(engine, { signal: info.signal });
    try {
      const { loss, value, results } = tape.run(() => {
        const forward = this.forward(tape, upload(engine, inputs), stage);
        // The reads wait for the forward pass alone.
        const value = forward.loss.read() as Promise<Float32Array>;
        const results = this.measured(forward, info);
        for (const read of [value, results]) read?.catch(() => {});
        return { loss: forward.loss, value, results };
      });
      await tape.backward(loss, { scale: info.lossScale });
      const [number] = await value;
      const measured = await results;
      return { loss: number!, metrics: {}, ...(measured && this.report(measured, info, stage)) };
    } catch (error) {
      this.params.renewGrads();
      throw error;
    } finally {
      tape.close();
      this.model.dispose();
    }
  }

  private calls(tensors: InputTensors, stage: Stage, scale: Tensor): Forward {
    const tape = new Tape(this.engine);
    try {
      const forward = this.forward(tape, tensors, stage);
      tape.backwardNow(forward.loss, { scale });
      return forward;
    } finally {
      tape.close();
      this.model.dispose();
    }
  }

  private async finish(forward: Forward, info: StepInfo, stage: Stage): Promise<StepResult> {
    const [[loss], measured] = await Promise.all([forward.loss.read(), this.measured(forward, info)]);
    return { loss: Number(loss), metrics: {}, ...(measured && this.report(measured, info, stage)) };
  }

  /**
   * Loss and accuracy over all images: vL_mean, vacc_mean over all tokens, vL_tail, vacc_tail over the last scale. All scales are
   * computed and no label is dropped.
   */
  async evaluate(batches: AsyncIterable<ImageBatch | TokenBatch>, signal?: AbortSignal): Promise<Metrics> {
    const { engine, model, params } = this;
    const total = new Evaluation(model.beginEnds);
    params.bind(engine, model);
    try {
      for await (const batch of batches) {
        using scope = engine.openScope({ signal });
        const results = scope.run(() => {
          const tokens = tokensOf(engine, this.vqvae, batch);
          const logits = model.forward(engine, batch.labels, this.vqvae.idxBlToVarInput(engine, tokens));
          return this.resultsOf(logits, joinTokens(engine, tokens, tokens.length - 1));
        });
        total.add(await results);
        await engine.throttle();
      }
    } finally {
      model.dispose();
    }
    return total.metrics();
  }

  /** The share of the vocabulary that was predicted in the logged iterations of the epoch. */
  endEpoch(): { metrics: Metrics; warnings: readonly string[] } {
    const metrics: Metrics = this.predicted.some((count) => count > 0) ? { 'AR_ep_loss/z_voc_usage': vocabUsage(this.predicted) } : {};
    this.predicted.fill(0);
    return { metrics, warnings: [] };
  }

  /** Generated pictures, one class per row. */
  async images(signal?: AbortSignal): Promise<TaskImage[]> {
    const { engine, model, vqvae, settings } = this;
    this.params.bind(engine, model);
    try {
      const grid = await sampleGrid(engine, model, vqvae, { ...settings.samples, seed: settings.seed }, signal);
      return grid ? [{ tag: 'AR_images/samples', ...grid }] : [];
    } finally {
      model.dispose();
    }
  }

  /** Tokens of a batch, [B, L]: all scales in order. */
  async tokenize(batch: ImageBatch | TokenBatch): Promise<Int32Array> {
    const { engine } = this;
    using all = engine.scope(() => {
      const tokens = tokensOf(engine, this.vqvae, batch);
      return joinTokens(engine, tokens, tokens.length - 1);
    });
    return (await all.read()) as Int32Array;
  }

  async state(): Promise<Record<string, StateValue>> {
    return { config: this.config(), var_wo_ddp: ordered(this.params), vae_local: ordered(this.vqvaeParams), predicted: this.predicted };
  }

  /** The VQVAE stays the one that the task was made with (skip_vae of the reference). Throws ArgumentError for other settings. */
  async restore(state: Record<string, StateValue>): Promise<void> {
    const config = (state.config ?? {}) as Record<string, unknown>;
    for (const [name, own] of Object.entries(this.config())) {
      if (name.includes('prog')) continue;
      const [saved, wanted] = [plain(config[name]), plain(own)];
      if (saved !== wanted) throw new ArgumentError(`the checkpoint was made with ${name} ${saved}, this run has ${wanted}`);
    }
    const weights = savedWeights('var_wo_ddp', state.var_wo_ddp);
    checkKeys('VAR', this.params.specs, weights);
    await this.params.load(weights);
    await this.engine.flush();
    this.progressive.restore(config);
    const { predicted } = state;
    this.predicted.fill(0);
    if (predicted instanceof SavedTensor) this.predicted.set((await predicted.read()) as Float64Array);
  }

  /** Tokens of another VQVAE would mean something else. */
  async checkFrozen({ vae_local: saved }: Record<string, StateValue>): Promise<void> {
    for (const name of this.vqvaeParams.names) {
      const before = (saved as Record<string, unknown> | undefined)?.[name];
      const is = await this.vqvaeParams.get(name).read();
      const was = before instanceof SavedTensor ? await before.read() : new Uint8Array(0);
      if (Buffer.compare(bytesOf(was), bytesOf(is)) !== 0)
        throw new ArgumentError(`the checkpoint was made with another VQVAE than this run has: ${name} differs`);
    }
  }

  dispose(): void {
    this.model.dispose();
    this.params.dispose();
    this.vqvae.dispose();
    this.vqvaeParams.dispose();
  }

  /** What the host decides for an iteration: labels, of which some are dropped, branches to drop, weights of the tokens. */
  private inputsOf(batch: ImageBatch | TokenBatch, info: StepInfo, stage: Stage): StepInputs {
    const { settings, model, vqvae } = this;
    const { config, seed, dropPathRate } = settings;
    const keyOf = (b: number): DropKey => ({ seed, gIt: info.gIt, image: batch.indices[b]! });
    const labels = dropLabels(batch.labels, config.condDropRate, config.numClasses, keyOf);
    model.checkLabels(labels);
    const factors = dropPaths(labels.length, config.depth, dropPathRate, keyOf);
    const drops = factors.flatMap((data, block) => (data ? [[`drop${block}`, { data, shape: [labels.length, 6, 1] }] as const] : []));
    const weights = lossWeights(model.beginEnds, stage);
    return {
      ...batchInputs(vqvae, batch),
      labels: { data: labels, shape: [labels.length, 1] },
      weights: { data: weights, shape: [1, weights.length] },
      ...Object.fromEntries(drops),
    };
  }

  private forward(tape: Tape, inputs: InputTensors, { progSi }: Stage): Forward {
    const { engine, settings, model, vqvae, params } = this;
    const { labelSmooth, checkpointing, precision, config } = settings;
    const tokens = tokensFrom(engine, vqvae, inputs);
    const x = vqvae.idxBlToVarInput(engine, tokens, progSi);
    const target = joinTokens(engine, tokens, progSi < 0 ? tokens.length - 1 : progSi);
    params.bind(tape, model, { precision });
    const dropPath = Array.from({ length: config.depth }, (_, block) => inputs[`drop${block}`]);
    const logits = model.forward(tape, inputs.labels!, x, { progSi, dropPath, checkpoint: checkpointing });
    const losses = tape.ops.crossEntropy(logits, target, { labelSmooth });
    return { loss: weightedMean(tape, losses, inputs.weights!), losses, logits, target };
  }

  private measured({ logits, target, losses }: Forward, info: StepInfo): Promise<TokenResults> | null {
    if (!info.log && !info.detailed) return null;
    return this.resultsOf(logits, target, this.settings.labelSmooth === 0 ? losses : undefined);
  }

  /** Reads what the metrics need; `ce` where it is known already. */
  private resultsOf(logits: Tensor, target: Tensor, ce?: Tensor): Promise<TokenResults> {
    const { ops } = this.engine;
    const [batch, length] = target.shape as [number, number];
    return this.engine.scope(() => {
      const pred = ops.reduce(logits, { fn: 'argmax' });
      const losses = ce ?? ops.crossEntropy(logits, target);
      const reads = Promise.all([target.read(), pred.read(), losses.read()]);
      const gather = async (): Promise<TokenResults> => {
        const [t, p, c] = await reads;
        return { batch, length, target: t as Int32Array, pred: p as Int32Array, ce: c as Float32Array };
      };
      return { promise: gather() };
    }).promise;
  }

  private report(results: TokenResults, info: StepInfo, stage: Stage): Omit<StepResult, 'loss'> {
    const { model, resos, settings } = this;
    const metrics = info.log ? meanAndTail(results, model.beginEnds, stage.newest) : {};
    if (info.log) countPredictions(this.predicted, results.pred);
    if (!info.detailed) return { metrics };
    const scalars = detailedScalars(results, model.beginEnds, resos, settings.config.vocabSize, stage);
    return { metrics, scalars, histograms: { 'AR_iter_loss/ce_of_tokens': results.ce } };
  }

  /** As the reference's get_config(). */
  private config() {
    return {
      patch_nums: new PyTuple([...this.settings.config.patchNums]),
      resos: new PyTuple([...this.resos]),
      label_smooth: new PyFloat(this.settings.labelSmooth),
      ...this.progressive.state(),
    };
  }
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array => new Uint8Array(buffer, byteOffset, byteLength);

/** As the reference's training of VAR chooses them. */
export const varNoDecay = noDecayRule();

/** Mean over images of the weighted sum over tokens; losses [B, l], weights [1, l] give [1]. */
function weightedMean(g: Graph, losses: Tensor, weights: Tensor): Tensor {
  const { ops } = g;
  const [batch] = losses.shape as [number];
  return g.scope(() => {
    const weighted = ops.binary(losses, weights, { fn: 'mul' });
    const perImage = ops.reduce(weighted, { fn: 'sum', axis: 1 });
    return ops.reduce(ops.reshape(perImage, { shape: [1, batch] }), { fn: 'mean', axis: 1 });
  });
}

/** A state dict as torch makes it: an OrderedDict. */
function ordered(params: Parameters): OrderedDict<unknown> {
  return new OrderedDict(params.stateDict());
}

/** Numbers of a config as text. */
function plain(value: unknown): string {
  if (value instanceof PyTuple) return plain([...value.items]);
  return Array.isArray(value) ? value.map(plain).join('_') : String(Number(value));
}
