// The validation transform of the reference (utils/data.py of FoundationVision/VAR): resize the shorter edge, crop the centre, [-1, 1].
import { checkArray, checkInt, checkNumber, throwIfAborted } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { roundHalfEven } from '../core/round.js';
import type { Engine, Tensor } from '../engine/index.js';
import { type DecodeOptions, decodeImage, type RawImage } from './image.js';

export interface PreprocessOptions {
  /** Height and width of the result. */
  finalReso: number;
  /** The shorter edge becomes round-half-even(midReso * finalReso) before the crop; at least 1. */
  midReso?: number;
}

export interface Placement {
  /** Size after the resize. */
  height: number;
  width: number;
  /** Corner of the crop. */
  top: number;
  left: number;
}

/** Sizes and offsets of resize and crop, for any input size. */
export function placement(width: number, height: number, { finalReso, midReso = 1.125 }: PreprocessOptions): Placement {
  checkInt('finalReso', finalReso, 1, 16384);
  checkNumber('midReso', midReso, 1, 16);
  checkInt('width', width, 1);
  checkInt('height', height, 1);
  const short = roundHalfEven(midReso * finalReso);
  const long = Math.trunc((short * Math.max(width, height)) / Math.min(width, height));
  const size = width <= height ? { width: short, height: long } : { width: long, height: short };
  const offset = (edge: number): number => roundHalfEven((edge - finalReso) / 2);
  return { ...size, top: offset(size.height), left: offset(size.width) };
}

/** Resized and cropped bytes, [finalReso, finalReso, 3] u8. */
export function resizeCrop(engine: Engine, image: RawImage, options: PreprocessOptions): Tensor {
  const { width, height } = image;
  if (image.data.length !== width * height * 3)
    throw new ArgumentError(`image: ${width} x ${height} RGB needs ${width * height * 3} bytes, given ${image.data.length}`);
  const place = placement(width, height, options);
  const size = options.finalReso;
  return engine.scope(() => {
    const pixels = engine.tensor(image.data, [height, width, 3], 'u8');
    const same = place.width === width && place.height === height;
    const resized = same ? pixels : engine.ops.resizeLanczos(pixels, { outH: place.height, outW: place.width });
    const rows = engine.ops.slice(resized, { axis: 0, start: place.top, size });
    return engine.ops.slice(rows, { axis: 1, start: place.left, size });
  });
}

/** An image as the model takes it: [finalReso, finalReso, 3] f32 in [-1, 1]. */
export function preprocess(engine: Engine, image: RawImage, options: PreprocessOptions): Tensor {
  return engine.scope(() => engine.ops.imageToUnit(resizeCrop(engine, image, options)));
}

export interface LoadImagesOptions extends DecodeOptions {
  /** Height and width of every image. */
  reso: number;
  midReso?: number;
  signal?: AbortSignal;
}

/** Decodes and transforms files (or their bytes) into one batch [B, reso, reso, 3] f32 in [-1, 1]. Throws ImageError naming the file. */
export async function loadImages(engine: Engine, inputs: readonly (string | Uint8Array)[], options: LoadImagesOptions): Promise<Tensor> {
  checkArray('inputs', inputs, 1);
  const { reso, midReso, signal } = options;
  placement(1, 1, { finalReso: reso, midReso });
  throwIfAborted(signal);
  const batch = engine.ops.fill({ shape: [inputs.length, reso, reso, 3], value: 0, dtype: 'f32' });
  try {
    for (const [i, input] of inputs.entries()) {
      const image = await decodeImage(input, { maxPixels: options.maxPixels, name: options.name ?? `image ${i}` });
      throwIfAborted(signal);
      engine.scope(() => {
        const x = preprocess(engine, image, { finalReso: reso, midReso });
        engine.ops.writeSlice(batch, engine.ops.reshape(x, { shape: [1, reso, reso, 3] }), { axis: 0, start: i });
      });
      await engine.throttle();
    }
    return batch;
  } catch (error) {
    batch.dispose();
    throw error;
  }
}
