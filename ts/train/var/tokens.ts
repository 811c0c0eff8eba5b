import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { ImageBatch, TokenBatch } from '../../data/index.js';
import type { Engine, Tensor } from '../../engine/index.js';
import type { VqvaeModel } from '../../models/vqvae/index.js';
import { type InputTensors, type StepInputs, upload } from '../step-program.js';

/** A batch as inputs: the bytes of its images [B, H, W, 3], or its tokens by scale. Throws ShapeError or ArgumentError where it does not fit. */
export function batchInputs(vqvae: VqvaeModel, batch: ImageBatch | TokenBatch): StepInputs {
  return batch.kind === 'images' ? { pixels: pixelsOf(vqvae, batch) } : tokenInputs(vqvae, batch);
}

function pixelsOf(vqvae: VqvaeModel, { pixels, reso, labels }: ImageBatch): StepInputs[string] {
  const wanted = vqvae.config.patchNums.at(-1)! * vqvae.downsample;
  if (reso !== wanted) throw new ShapeError(`images are ${reso} pixels wide, the VQVAE and its patchNums ask for ${wanted}`);
  return { data: pixels, shape: [labels.length, reso, reso, 3] };
}

function tokenInputs(vqvae: VqvaeModel, batch: TokenBatch): StepInputs {
  const { patchNums } = vqvae.config;
  const length = patchNums.reduce((sum, pn) => sum + pn * pn, 0);
  const b = batch.labels.length;
  if (batch.tokens.length !== b * length)
    throw new ArgumentError(
      `a batch has ${batch.tokens.length} tokens for ${b} images; patchNums ${patchNums.join('_')} ask for ${length} each`,
    );
  let at = 0;
  const scales = patchNums.map((pn, si) => {
    const part = new Int32Array(b * pn * pn);
    for (let i = 0; i < b; i++) part.set(batch.tokens.subarray(i * length + at, i * length + at + pn * pn), i * pn * pn);
    at += pn * pn;
    return [`tokens${si}`, { data: part, shape: [b, pn * pn] }] as const;
  });
  return Object.fromEntries(scales);
}

/** Tokens of every scale, [B, l] i32, of a batch on the engine: by the VQVAE, or those of the cache. */
export function tokensFrom(engine: Engine, vqvae: VqvaeModel, inputs: InputTensors): Tensor[] {
  const { pixels } = inputs;
  if (pixels) return engine.scope(() => vqvae.imgToIdxBl(engine, engine.ops.imageToUnit(pixels)));
  return vqvae.config.patchNums.map((_, si) => inputs[`tokens${si}`]!);
}

/** Tokens of every scale of a batch. Belongs into a scope. */
export function tokensOf(engine: Engine, vqvae: VqvaeModel, batch: ImageBatch | TokenBatch): Tensor[] {
  return tokensFrom(engine, vqvae, upload(engine, batchInputs(vqvae, batch)));
}

/** Joins the tokens of scales 0..last to [B, end]. */
export function joinTokens(engine: Engine, idxBl: readonly Tensor[], last: number): Tensor {
  const parts = idxBl.slice(0, last + 1);
  return engine.scope(() => parts.reduce((a, b) => engine.ops.concat(a, b, { axis: 1 })));
}
