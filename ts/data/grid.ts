import { checkArray, checkInt } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { RawImage } from './image.js';

export interface GridOptions {
  /** Images in a row; by default the grid is as square as it gets. */
  columns?: number;
  /** Pixels between images and around them. */
  padding?: number;
  /** Gray level of the padding, 0 to 255. */
  background?: number;
}

/** Copies `src` into `dst`, its corner at (x, y); it must fit. */
export function paste(dst: RawImage, src: RawImage, x: number, y: number): void {
  const row = src.width * 3;
  for (let i = 0; i < src.height; i++) dst.data.set(src.data.subarray(i * row, (i + 1) * row), ((y + i) * dst.width + x) * 3);
}

/** Lays images of one size out row by row. */
export function makeGrid(images: readonly RawImage[], options: GridOptions = {}): RawImage {
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
  const background = checkInt('background', options.background ?? 255, 0, 255);
  const out = { data: new Uint8Array(outWidth * outHeight * 3).fill(background), width: outWidth, height: outHeight };
  for (const [i, image] of images.entries()) {
    const x = padding + (i % columns) * (width + padding);
    const y = padding + Math.floor(i / columns) * (height + padding);
    paste(out, image, x, y);
  }
  return out;
}
