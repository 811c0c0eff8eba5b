import { setImmediate as nextTurn } from 'node:timers/promises';
import { throwIfAborted } from '../../core/check.js';
import type { Engine, Scope, Tensor } from '../../engine/index.js';
import type { KvCache } from '../../nn/index.js';
import { replace, type Tap } from '../tap.js';
import type { VqvaeModel } from '../vqvae/index.js';
import type { Conditioning, VarModel } from './model.js';

/** One batch of images to generate; every array holds one entry (seeds: three) per image. */
export interface GenerateBatch {
  /** 0..numClasses; numClasses is the unconditional class. */
  readonly labels: Int32Array;
  /** (lo, hi, imageIndex) per image: the key of its random numbers. */
  readonly seeds: Int32Array;
  /** Guidance; scale si of SN uses cfg * si / (SN - 1). */
  readonly cfg: Float32Array;
  /** 0: off. */
  readonly topK: Int32Array;
  /** 0: off. */
  readonly topP: Float32Array;
  /** Mix codewords by a Gumbel softmax instead of taking the drawn one. */
  readonly moreSmooth: boolean;
  /** Gumbel noise [B * l * V] per scale in place of drawn numbers. */
  readonly noise?: readonly Float32Array[];
}

export interface GenerateHooks {
  /** The work belongs to it and keeps none of its tensors there: with its signal it cancels what is queued until it is closed. */
  readonly scope: Scope;
  readonly signal?: AbortSignal;
  readonly tap?: Tap;
  /** Called while the commands of a scale are enqueued: tokens [B, l] i32 and f_hat [B, H, W, Cvae]; both are only valid inside the call. */
  readonly onScale?: (si: number, tokens: Tensor, fHat: Tensor) => void;
}

/** Lets timers and I/O run between two chunks of enqueued work, and waits while too much is in flight. */
export async function breathe(engine: Engine, signal?: AbortSignal): Promise<void> {
  await engine.throttle();
  await nextTurn();
  throwIfAborted(signal);
}

/**
 * Generates the token maps scale by scale (VAR, section 3.3) and returns f_hat [B, H, W, Cvae], which the caller disposes. Nothing is
 * read back between scales. The conditional and the unconditional half run as one batch of 2 B.
 */
export async function generateFhat(
  engine: Engine,
  model: VarModel,
  vqvae: VqvaeModel,
  batch: GenerateBatch,
  hooks: GenerateHooks,
): Promise<Tensor> {
  const { scope } = hooks;
  try {
    const run = scope.run(() => {
      const inputs = new BatchInputs(engine, model, batch);
      return new Run(engine, model, vqvae, inputs, batch.moreSmooth, { ...hooks, noise: batch.noise }, hooks.signal);
    });
    for (let si = 0; si < model.config.patchNums.length; si++) {
      await run.scale(scope, si);
      await breathe(engine, hooks.signal);
    }
    return scope.keep(run.fHat);
  } finally {
    scope.clear();
  }
}

/** Blocks enqueued before the event loop gets a turn. */
const BLOCKS_PER_TURN = 6;

/** A batch on the device: what a generation reads, and what new values are written to between two runs of a captured one. */
export class BatchInputs {
  /** [2 B, 1]: the labels, then as many times the unconditional class. */
  readonly labels: Tensor;
  readonly seeds: Tensor;
  readonly topK: Tensor;
  readonly topP: Tensor;
  /** [SN * B]: guidance of every scale and image. */
  readonly guidance: Tensor;

  constructor(
    engine: Engine,
    private readonly model: VarModel,
    batch: GenerateBatch,
  ) {
    const n = batch.labels.length;
    this.labels = engine.tensor(this.labelsOf(batch), [2 * n, 1]);
    this.seeds = engine.tensor(batch.seeds, [n, 3]);
    this.topK = engine.tensor(batch.topK, [n]);
    this.topP = engine.tensor(batch.topP, [n]);
    this.guidance = engine.tensor(this.guidanceOf(batch), [model.config.patchNums.length * n]);
  }

  get count(): number {
    return this.topK.size;
  }

  /** The values of another batch of the same size. */
  write(batch: GenerateBatch): void {
    this.labels.write(this.labelsOf(batch));
    this.seeds.write(batch.seeds);
    this.topK.write(batch.topK);
    this.topP.write(batch.topP);
    this.guidance.write(this.guidanceOf(batch));
  }

  dispose(): void {
    for (const t of [this.labels, this.seeds, this.topK, this.topP, this.guidance]) t.dispose();
  }

  private labelsOf(batch: GenerateBatch): Int32Array {
    const labels = new Int32Array(2 * batch.labels.length).fill(this.model.config.numClasses);
    labels.set(batch.labels);
    return labels;
  }

  private guidanceOf(batch: GenerateBatch): Float32Array {
    const last = this.model.config.patchNums.length - 1;
    const n = batch.cfg.length;
    return Float32Array.from({ length: (last + 1) * n }, (_, i) => batch.cfg[i % n]! * (Math.floor(i / n) / (last || 1)));
  }
}

/** What a Run asks of its surroundings; all of it may be absent. */
interface RunHooks {
  readonly tap?: Tap | undefined;
  readonly noise?: readonly Float32Array[] | undefined;
  readonly onScale?: ((si: number, tokens: Tensor, fHat: Tensor) => void) | undefined;
}

/**
 * All scales at once, without a turn of the event loop: what engine.capture() records. Returns f_hat [B, H, W, Cvae] and per scale the
 * tokens [B, l]; other tensors belong to the scope or the capture that this runs in.
 */
export function generateAll(
  engine: Engine,
  model: VarModel,
  vqvae: VqvaeModel,
  inputs: BatchInputs,
  moreSmooth: boolean,
): { fHat: Tensor; tokens: Tensor[] } {
  return engine.scope(() => {
    const run = new Run(engine, model, vqvae, inputs, moreSmooth, {});
    return { tokens: model.config.patchNums.map((_, si) => run.all(si)), fHat: run.fHat };
  });
}

class Run {
  readonly fHat: Tensor;
  private readonly count: number;
  private readonly cond: Conditioning;
  private readonly caches: readonly KvCache[];
  private x: Tensor;

  constructor(
    private readonly engine: Engine,
    private readonly model: VarModel,
    private readonly vqvae: VqvaeModel,
    private readonly inputs: BatchInputs,
    private readonly moreSmooth: boolean,
    private readonly hooks: RunHooks,
    private readonly signal?: AbortSignal,
  ) {
    const n = inputs.count;
    const { patchNums, zChannels } = model.config;
    const side = patchNums.at(-1)!;
    this.count = n;
    this.cond = model.conditionOf(engine, inputs.labels);
    this.caches = model.caches(engine, 2 * n);
    this.fHat = engine.ops.fill({ shape: [n, side, side, zChannels] });
    this.x = model.embedFirst(engine, this.cond.sos);
  }

  /** A scale without a pause; returns its tokens [B, l]. */
  all(si: number): Tensor {
    this.blocks(si, 0, this.model.config.depth);
    return this.finish(si);
  }

  async scale(scope: Scope, si: number): Promise<void> {
    const { depth } = this.model.config;
    for (let from = 0; from < depth; from += BLOCKS_PER_TURN) {
      if (from > 0) await breathe(this.engine, this.signal);
      scope.run(() => this.blocks(si, from, Math.min(depth, from + BLOCKS_PER_TURN)));
    }
    scope.run(() => this.finish(si).dispose());
  }

  private blocks(si: number, from: number, to: number): void {
    for (let i = from; i < to; i++) this.x = replace(this.x, this.model.step(this.engine, i, this.x, this.cond, this.caches[i], si));
  }

  /** From the last block's output to tokens, which are returned, f_hat and the next scale's input. */
  private finish(si: number): Tensor {
    const { engine, model } = this;
    const last = si === model.config.patchNums.length - 1;
    const { idx, next } = engine.scope(() => {
      const { idx, h } = this.choose(si, model.logits(engine, this.x, this.cond));
      this.vqvae.quantize.accumulate(engine, this.fHat, h, si, model.config.patchNums.length);
      this.tap(si, 'f_hat', this.fHat);
      this.hooks.onScale?.(si, idx, this.fHat);
      return { idx, next: last ? this.finishLast(si) : this.nextInput(si) };
    });
    this.x.dispose();
    if (next) this.x = next;
    return idx;
  }

  private finishLast(si: number): null {
    this.tap(si, 'next_token_map', this.fHat);
    return null;
  }

  private nextInput(si: number): Tensor {
    const { ops } = this.engine;
    const { patchNums, zChannels } = this.model.config;
    const pn = patchNums[si + 1]!;
    const map = ops.interpolate(this.fHat, { mode: 'area', outH: pn, outW: pn });
    this.tap(si, 'next_token_map', map);
    const features = ops.reshape(map, { shape: [this.count, pn * pn, zChannels] });
    return this.model.embedNext(this.engine, ops.concat(features, features, { axis: 0 }), si + 1);
  }

  /** Logits [2B, l, V] to tokens [B, l] and the codeword map [B, pn, pn, Cvae]. */
  private choose(si: number, logits: Tensor): { idx: Tensor; h: Tensor } {
    const { engine, inputs } = this;
    const { ops } = engine;
    const { patchNums } = this.model.config;
    const pn = patchNums[si]!;
    const ratio = si / (patchNums.length - 1 || 1);
    const t = engine.view(inputs.guidance, si * this.count, [this.count]);
    this.tapLogits(si, logits, t);
    const idx = ops.sampleCfg(logits, t, inputs.topK, inputs.topP, inputs.seeds, { scale: si });
    this.tap(si, 'idx', idx);
    const h = this.moreSmooth ? this.smooth(si, ops.cfgMix(logits, t), ratio) : this.vqvae.quantize.embed(ops, idx, pn, pn);
    this.tap(si, 'h', h);
    return { idx, h };
  }

  /** Codewords mixed by softmax((logits * (1 + ratio) + gumbel) / tau), tau falling with the scales. */
  private smooth(si: number, mixed: Tensor, ratio: number): Tensor {
    const { engine, inputs, hooks } = this;
    const { ops } = engine;
    const { patchNums, zChannels, vocabSize } = this.model.config;
    const pn = patchNums[si]!;
    const cut = ops.truncateLogits(mixed, inputs.topK, inputs.topP);
    this.tap(si, 'truncated', cut);
    const noise = hooks.noise?.[si];
    const soft = ops.gumbelSoftmax(cut, {
      gumbel: noise ? engine.tensor(noise, [this.count, pn * pn, vocabSize]) : undefined,
      seed: noise ? undefined : inputs.seeds,
      mul: 1 + ratio,
      tau: Math.max(0.27 * (1 - ratio * 0.95), 0.005),
      scale: si,
    });
    this.tap(si, 'soft', soft);
    const flat = ops.reshape(soft, { shape: [1, this.count * pn * pn, vocabSize] });
    const codes = ops.reshape(this.vqvae.quantize.embedding.weight, { shape: [1, vocabSize, zChannels] });
    return ops.reshape(ops.matmul(flat, codes), { shape: [this.count, pn, pn, zChannels] });
  }

  private tapLogits(si: number, logits: Tensor, t: Tensor): void {
    if (!this.hooks.tap) return;
    const { ops } = this.engine;
    this.tap(si, 'logits_cond', ops.slice(logits, { axis: 0, start: 0, size: this.count }));
    this.tap(si, 'logits_uncond', ops.slice(logits, { axis: 0, start: this.count, size: this.count }));
    this.tap(si, 'logits_mixed', ops.cfgMix(logits, t));
  }

  private tap(si: number, name: string, tensor: Tensor): void {
    this.hooks.tap?.(`scale${si}/${name}`, tensor);
  }
}
