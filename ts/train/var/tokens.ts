import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { ImageBatch, TokenBatch } from '../../data/index.js';
import type { Engine, Tensor } from '../../engine/index.js';
import type { VqvaeModel } from '../../models/vqvae/index.js';

/** Bytes of a batch as images in [-1, 1], [B, H, W, 3]; throws ShapeError where they do not fit the VQVAE. */
export function imagesOf(engine: Engine, vqvae: VqvaeModel, { pixels, reso, labels }: ImageBatch): Tensor {
  const wanted = vqvae.config.patchNums.at(-1)! * vqvae.downsample;
  if (reso !== wanted) throw new ShapeError(`images are ${reso} pixels wide, the VQVAE and its patchNums ask for ${wanted}`);
  const shape = [labels.length, reso, reso, 3];
  return engine.scope(() => engine.ops.imageToUnit(engine.tensor(pixels, shape)));
}

/** Tokens of every scale, [B, l] i32: by the VQVAE, or those of the cache. Belongs into a scope. */
export function tokensOf(engine: Engine, vqvae: VqvaeModel, batch: ImageBatch | TokenBatch): Tensor[] {
  if (batch.kind === 'images') return engine.scope(() => vqvae.imgToIdxBl(engine, imagesOf(engine, vqvae, batch)));
  const { patchNums } = vqvae.config;
  const length = patchNums.reduce((sum, pn) => sum + pn * pn, 0);
  const b = batch.labels.length;
  if (batch.tokens.length !== b * length)
    throw new ArgumentError(
      `a batch has ${batch.tokens.length} tokens for ${b} images; patchNums ${patchNums.join('_')} ask for ${length} each`,
    );
  let at = 0;
  return patchNums.map((pn) => {
    const part = new Int32Array(b * pn * pn);
    for (let i = 0; i < b; i++) part.set(batch.tokens.subarray(i * length + at, i * length + at + pn * pn), i * pn * pn);
    at += pn * pn;
    return engine.tensor(part, [b, pn * pn]);
  });
}

/** Joins the tokens of scales 0..last to [B, end]. */
export function joinTokens(engine: Engine, idxBl: readonly Tensor[], last: number): Tensor {
  const parts = idxBl.slice(0, last + 1);
  return engine.scope(() => parts.reduce((a, b) => engine.ops.concat(a, b, { axis: 1 })));
}
