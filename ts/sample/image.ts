/** An RGB image: bytes in rows from the top, three per pixel. */
export interface RawImage {
  /** width * height * 3 bytes. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

/** A decoded image. */
export class RgbImage implements RawImage {
  constructor(
    readonly data: Uint8Array,
    readonly width: number,
    readonly height: number,
  ) {}

  /** The image as a PNG file. */
  async toPng(): Promise<Buffer> {
    const { default: sharp } = await import('sharp');
    return sharp(this.data, { raw: { width: this.width, height: this.height, channels: 3 } })
      .png()
      .toBuffer();
  }
}

/** Cuts a batch [B, h, w, 3] of bytes into images that share nothing. */
export function splitImages(bytes: Uint8Array, height: number, width: number): RgbImage[] {
  const size = height * width * 3;
  return Array.from({ length: bytes.length / size }, (_, i) => new RgbImage(bytes.slice(i * size, (i + 1) * size), width, height));
}
