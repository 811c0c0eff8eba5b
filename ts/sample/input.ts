import { show, throwIfAborted } from '../core/check.js';
import { ArgumentError, ShapeError } from '../core/errors.js';
import { decodeImage, type RawImage, resizeCrop } from '../data/index.js';
import type { Engine, Tensor } from '../engine/index.js';

/** A file, which is resized and cropped as for validation, or bytes of exactly the model's size. */
export type ImageInput = string | RawImage;

/** Where images go: their size, and the index of the first in the caller's list, for messages. */
export interface Target {
  readonly height: number;
  readonly width: number;
  readonly at: number;
  readonly signal?: AbortSignal;
}

/** Images as one tensor of bytes [n, height, width, 3]. */
export async function imageBatch(engine: Engine, images: readonly ImageInput[], target: Target): Promise<Tensor> {
  const { height, width, at, signal } = target;
  const batch = engine.ops.fill({ shape: [images.length, height, width, 3], dtype: 'u8' });
  try {
    for (const [i, image] of images.entries()) {
      const name = `images[${at + i}]`;
      const raw = typeof image === 'string' ? await decodeImage(image) : checkRaw(image, name, height, width);
      throwIfAborted(signal);
      if (typeof image === 'string' && height !== width)
        throw new ArgumentError(
          `${name}: files are cropped to squares, these token maps need ${width} x ${height} pixels; give { data, width, height }`,
        );
      engine.scope(() => {
        const pixels =
          typeof image === 'string' ? resizeCrop(engine, raw, { finalReso: height }) : engine.tensor(raw.data, [height, width, 3], 'u8');
        engine.ops.writeSlice(batch, engine.ops.reshape(pixels, { shape: [1, height, width, 3] }), { axis: 0, start: i });
      });
      await engine.throttle();
    }
    return batch;
  } catch (error) {
    batch.dispose();
    throw error;
  }
}

function checkRaw(image: RawImage, name: string, height: number, width: number): RawImage {
  if (typeof image !== 'object' || image === null || !(image.data instanceof Uint8Array))
    throw new ArgumentError(`${name}: a path or { data: Uint8Array, width, height } is expected, given ${show(image)}`);
  if (image.width !== width || image.height !== height)
    throw new ShapeError(`${name} is ${image.width} x ${image.height} pixels, this model takes ${width} x ${height}`);
  if (image.data.length !== width * height * 3)
    throw new ShapeError(`${name}.data has ${image.data.length} bytes, ${width} x ${height} RGB pixels have ${width * height * 3}`);
  return image;
}
