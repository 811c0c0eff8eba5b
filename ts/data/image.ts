// Image files <-> RGB bytes, with the conversions of PIL's convert('RGB'), which the reference trains and evaluates with.
import { readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import sharp, { type Metadata, type OutputInfo, type Sharp } from 'sharp';
import { checkEnum, checkInt, refuse } from '../core/check.js';
import { ArgumentError, ImageError } from '../core/errors.js';

/** An RGB image: bytes in rows from the top, three per pixel. */
export interface RawImage {
  /** width * height * 3 bytes. */
  readonly data: Uint8Array;
  readonly width: number;
  readonly height: number;
}

export interface DecodeOptions {
  /** Largest number of pixels that is decoded; more is an ImageError. */
  maxPixels?: number;
  /** Name for error messages when the input is bytes. */
  name?: string;
  /** 'apply' turns the image as its EXIF orientation says; default 'ignore', as PIL and the reference do. */
  exif?: 'ignore' | 'apply';
}

const MAX_PIXELS = 100e6;
/** Formats that hold pixels; drawings (SVG, PDF) would be rendered and may refer to other files. */
const FORMATS: ReadonlySet<string> = new Set(['jpeg', 'png', 'webp', 'gif', 'tiff', 'heif']);

/**
 * Decodes an image file or its bytes. EXIF orientation (see `exif`) and colour profiles are ignored, alpha and palette transparency dropped (the
 * hidden colours stay), gray is repeated, 16-bit samples keep their high byte, CMYK becomes (255-C)(255-K)/255; of an animation the
 * first frame. Throws ImageError for unreadable, truncated, empty or too large input.
 */
export async function decodeImage(input: string | Uint8Array, options: DecodeOptions = {}): Promise<RawImage> {
  const name = typeof input === 'string' ? input : (options.name ?? 'image');
  const maxPixels = checkInt('maxPixels', options.maxPixels ?? MAX_PIXELS, 1);
  if (typeof input !== 'string' && !(input instanceof Uint8Array)) refuse(name, input, 'a path, or the bytes of a file as Uint8Array');
  const bytes = typeof input === 'string' ? await readInput(input) : input;
  if (bytes.length === 0) throw new ImageError(`${name}: the file is empty`, { file: name });
  try {
    const apply = checkEnum('exif', options.exif ?? 'ignore', ['ignore', 'apply']) === 'apply';
    const pipeline = sharp(bytes, { failOn: 'error', limitInputPixels: maxPixels, ignoreIcc: true, pages: 1, autoOrient: apply });
    const metadata = await pipeline.metadata();
    checkMetadata(metadata, name);
    return metadata.space === 'cmyk' ? await decodeCmyk(pipeline) : await decodeRgb(pipeline);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(`${name}: ${reason(error, maxPixels)}`, { file: name, cause: error });
  }
}

async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const why =
      code === 'ENOENT'
        ? 'no such file'
        : code === 'EISDIR'
          ? 'is a folder, not a file'
          : code === 'EACCES'
            ? 'no permission to read it'
            : String(error);
    throw new ImageError(`${path}: ${why}`, { file: path, cause: error });
  }
}

function checkMetadata({ format }: Metadata, name: string): void {
  if (format === undefined || !FORMATS.has(format)) {
    throw new ImageError(`${name}: format ${format ?? 'unknown'} is not accepted; accepted are ${[...FORMATS].join(', ')}`, { file: name });
  }
}

function reason(error: unknown, maxPixels: number): string {
  const text = error instanceof Error ? error.message : String(error);
  if (/exceeds pixel limit/i.test(text)) return `more than ${maxPixels} pixels (option maxPixels)`;
  if (/unsupported image format/i.test(text)) return 'not an image, or of a format that is not supported';
  return `cannot be decoded: ${text.trim().replace(/\s*\n\s*/g, '; ')}`;
}

async function decodeRgb(pipeline: Sharp): Promise<RawImage> {
  const { data, info } = await pipeline.toColourspace('srgb').removeAlpha().raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  const { width, height } = info;
  return { data: info.channels === 1 ? await repeatGray(data) : bytesOf(data, info, 3), width, height };
}

/** Pixels converted between two turns of the event loop. */
const PIXELS_PER_TURN = 1 << 16;

/** Calls fn for ranges of 0..n with a turn of the event loop between them. */
async function inTurns(n: number, fn: (from: number, to: number) => void): Promise<void> {
  for (let from = 0; from < n; from += PIXELS_PER_TURN) {
    if (from > 0) await setImmediate();
    fn(from, Math.min(n, from + PIXELS_PER_TURN));
  }
}

async function repeatGray(gray: Uint8Array): Promise<Uint8Array> {
  const out = new Uint8Array(gray.length * 3);
  await inTurns(gray.length, (from, to) => {
    for (let i = from, o = 3 * from; i < to; i++) {
      const v = gray[i]!;
      out[o++] = v;
      out[o++] = v;
      out[o++] = v;
    }
  });
  return out;
}

function bytesOf(data: Uint8Array, info: OutputInfo, channels: number): Uint8Array {
  if (info.channels !== channels) throw new Error(`decoded to ${info.channels} channels`);
  return new Uint8Array(data.buffer, data.byteOffset, data.length);
}

async function decodeCmyk(pipeline: Sharp): Promise<RawImage> {
  const { data, info } = await pipeline
    .pipelineColourspace('cmyk')
    .toColourspace('cmyk')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  const cmyk = bytesOf(data, info, 4);
  const { width, height } = info;
  const out = new Uint8Array(width * height * 3);
  await inTurns(width * height, (from, to) => {
    for (let i = from; i < to; i++) {
      const white = 255 - cmyk[4 * i + 3]!;
      for (let c = 0; c < 3; c++) out[3 * i + c] = white - divide255(cmyk[4 * i + c]! * white);
    }
  });
  return { data: out, width, height };
}

/** x / 255 rounded to nearest, in integers. */
function divide255(x: number): number {
  const t = x + 128;
  return ((t >> 8) + t) >> 8;
}

/** RGB bytes (HWC) as a PNG file. Throws ArgumentError when their number is not width * height * 3. */
export async function encodePng(data: Uint8Array, width: number, height: number): Promise<Buffer> {
  checkInt('width', width, 1, 65535);
  checkInt('height', height, 1, 65535);
  if (data.length !== width * height * 3)
    throw new ArgumentError(`encodePng: ${width} x ${height} RGB needs ${width * height * 3} bytes, given ${data.length}`);
  return await sharp(data, { raw: { width, height, channels: 3 } })
    .png({ compressionLevel: 6 })
    .toBuffer();
}
