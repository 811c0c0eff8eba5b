import { ArgumentError, ShapeError } from '../core/errors.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { RawImage } from './image.js';

/** A file, which is resized and cropped as for validation, or bytes of exactly the model's size. */
export type ImageInput = string | RawImage;

/** Images as one tensor of bytes [n, height, width, 3]; `at` is the index of the first in the caller's list, for messages. */
export async function imageBatch(engine: Engine, images: readonly ImageInput[], at: number, height: number, width: number): Promise<Tensor> {
  const size = height * width * 3;
  const bytes = new Uint8Array(images.length * size);
  for (const [i, image] of images.entries()) {
    const raw = typeof image === 'string' ? await fromFile(engine, image, height, width) : image;
    checkRaw(raw, `images[${at + i}]`, height, width);
    bytes.set(raw.data, i * size);
  }
  return engine.tensor(bytes, [images.length, height, width, 3], 'u8');
}

async function fromFile(engine: Engine, path: string, height: number, width: number): Promise<RawImage> {
  void engine;
  throw new ShapeError(`${path}: ${height} x ${width}`);
}

function checkRaw(image: RawImage, name: string, height: number, width: number): void {
  if (typeof image !== 'object' || image === null || !(image.data instanceof Uint8Array))
    throw new ArgumentError(`${name}: a path or { data: Uint8Array, width, height } is expected, given ${image === null ? 'null' : typeof image}`);
  if (image.width !== width || image.height !== height)
    throw new ShapeError(`${name} is ${image.width} x ${image.height} pixels, this model takes ${width} x ${height}`);
  if (image.data.length !== width * height * 3)
    throw new ShapeError(`${name}.data has ${image.data.length} bytes, ${width} x ${height} RGB pixels have ${width * height * 3}`);
}
