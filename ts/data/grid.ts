import { checkArray, checkInt } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { RgbImage } from './image.js';

export interface GridOptions {
  /** Images in a row; by default the grid is as square as it gets. */
  columns?: number;
  /** Pixels between images and around them. */
  padding?: number;
  /** Gray level of the padding, 0 to 255. */
  background?: number;
}

/** Lays images of one size out row by row. */
export function makeGrid(images: readonly RgbImage[], options: GridOptions = {}): RgbImage {
  checkArray('images', images, 1);
  const { width, height } = images[0]!;
  const odd = images.findIndex((image) => image.width !== width || image.height !== height);
  if (odd >= 0)
    throw new ArgumentError(`makeGrid: image ${odd} is ${images[odd]!.width} x ${images[odd]!.height}, the first ${width} x ${height}`);
  const columns = Math.min(checkInt('columns', options.columns ?? Math.ceil(Math.sqrt(images.length)), 1), images.length);
  const padding = checkInt('padding', options.padding ?? 2, 0, 1024);
  const rows = Math.ceil(images.length / columns);
  const outWidth = columns * (width + padding) + padding;
  const outHeight = rows * (height + padding) + padding;
  const data = new Uint8Array(outWidth * outHeight * 3).fill(checkInt('background', options.background ?? 255, 0, 255));
  for (const [i, image] of images.entries()) {
    const x = padding + (i % columns) * (width + padding);
    const y = padding + Math.floor(i / columns) * (height + padding);
    for (let row = 0; row < height; row++) {
      data.set(image.data.subarray(row * width * 3, (row + 1) * width * 3), ((y + row) * outWidth + x) * 3);
    }
  }
  return { data, width: outWidth, height: outHeight };
}
