import { encodePng, type RawImage } from '../data/index.js';

/** A decoded image. */
export class RgbImage implements RawImage {
  constructor(
    readonly data: Uint8Array,
    readonly width: number,
    readonly height: number,
  ) {}

  /** The image as a PNG file. */
  toPng(): Promise<Buffer> {
    return encodePng(this.data, this.width, this.height);
  }
}

/** Cuts a batch [B, h, w, 3] of bytes into images that share nothing. */
export function splitImages(bytes: Uint8Array, height: number, width: number): RgbImage[] {
  const size = height * width * 3;
  return Array.from({ length: bytes.length / size }, (_, i) => new RgbImage(bytes.slice(i * size, (i + 1) * size), width, height));
}
