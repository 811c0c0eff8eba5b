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
    const run = scope.run(() => new Run(engine, model, vqvae, batch, hooks));
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

class Run {
  readonly fHat: Tensor;
  private readonly count: number;
  private readonly cond: Conditioning;
  private readonly caches: readonly KvCache[];
  private readonly topK: Tensor;
  private readonly topP: Tensor;
  private readonly seeds: Tensor;
  private x: Tensor;

  constructor(
    private readonly engine: Engine,
    private readonly model: VarModel,
    private readonly vqvae: VqvaeModel,
    private readonly batch: GenerateBatch,
    private readonly hooks: GenerateHooks,
  ) {
    const n = batch.labels.length;
    const { numClasses, patchNums, zChannels } = model.config;
    const side = patchNums.at(-1)!;
    const labels = new Int32Array(2 * n).fill(numClasses);
    labels.set(batch.labels);
    this.count = n;
    this.topK = engine.tensor(batch.topK, [n]);
    this.topP = engine.tensor(batch.topP, [n]);
    this.seeds = engine.tensor(batch.seeds, [n, 3]);
    this.cond = model.condition(engine, labels);
    this.caches = model.caches(engine, 2 * n);
    this.fHat = engine.ops.fill({ shape: [n, side, side, zChannels] });
    this.x = model.embedFirst(engine, this.cond.sos);
  }

  async scale(scope: Scope, si: number): Promise<void> {
    const { depth } = this.model.config;
    for (let from = 0; from < depth; from += BLOCKS_PER_TURN) {
      if (from > 0) await breathe(this.engine, this.hooks.signal);
      scope.run(() => this.blocks(si, from, Math.min(depth, from + BLOCKS_PER_TURN)));
    }
    scope.run(() => this.finish(si));
  }

  private blocks(si: number, from: number, to: number): void {
    for (let i = from; i < to; i++) this.x = replace(this.x, this.model.step(this.engine, i, this.x, this.cond, this.caches[i], si));
  }

  /** From the last block's output to tokens, f_hat and the next scale's input. */
  private finish(si: number): void {
    const { engine, model } = this;
    const last = si === model.config.patchNums.length - 1;
    const next = engine.scope(() => {
      const { idx, h } = this.choose(si, model.logits(engine, this.x, this.cond));
      this.vqvae.quantize.accumulate(engine, this.fHat, h, si, model.config.patchNums.length);
      this.tap(si, 'f_hat', this.fHat);
      this.hooks.onScale?.(si, idx, this.fHat);
      return last ? this.finishLast(si) : this.nextInput(si);
    });
    this.x.dispose();
    if (next) this.x = next;
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
    const { engine, batch } = this;
    const { ops } = engine;
    const { patchNums } = this.model.config;
    const pn = patchNums[si]!;
    const ratio = si / (patchNums.length - 1);
    const t = engine.tensor(
      batch.cfg.map((cfg) => cfg * ratio),
      [this.count],
    );
    this.tapLogits(si, logits, t);
    const idx = ops.sampleCfg(logits, t, this.topK, this.topP, this.seeds, { scale: si });
    this.tap(si, 'idx', idx);
    const h = batch.moreSmooth ? this.smooth(si, ops.cfgMix(logits, t), ratio) : this.vqvae.quantize.embed(ops, idx, pn, pn);
    this.tap(si, 'h', h);
    return { idx, h };
  }

  /** Codewords mixed by softmax((logits * (1 + ratio) + gumbel) / tau), tau falling with the scales. */
  private smooth(si: number, mixed: Tensor, ratio: number): Tensor {
    const { engine, batch } = this;
    const { ops } = engine;
    const { patchNums, zChannels, vocabSize } = this.model.config;
    const pn = patchNums[si]!;
    const cut = ops.truncateLogits(mixed, this.topK, this.topP);
    this.tap(si, 'truncated', cut);
    const noise = batch.noise?.[si];
    const soft = ops.gumbelSoftmax(cut, {
      gumbel: noise ? engine.tensor(noise, [this.count, pn * pn, vocabSize]) : undefined,
      seed: noise ? undefined : this.seeds,
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
