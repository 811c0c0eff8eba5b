// Dataset to images of the size before the crop: decode, resize, keep what fits, note what is broken.
import { setImmediate } from 'node:timers/promises';
import { checkEnum, checkInt, throwIfAborted } from '../core/check.js';
import { DatasetError, ImageError } from '../core/errors.js';
import { createEngine, type Engine, type Tensor } from '../engine/index.js';
import type { ImageDataset } from './dataset.js';
import { decodeImage, type RawImage } from './image.js';
import { type Placement, placement } from './preprocess.js';
import { Semaphore } from './turns.js';

export interface ResizeOptions {
  /** Side of the images that a model sees. */
  reso: number;
  /** The shorter edge becomes round-half-even(midReso * reso) before the crop; default 1.125. */
  midReso?: number;
  /** Images decoded and resized at once; default 2. Results do not depend on it. */
  workers?: number;
  /** Resized images are kept up to this many bytes, so that small sets are decoded once; default 256 MiB, 0: none. */
  cacheBytes?: number;
  /** Larger images are skipped; default 100e6 pixels. */
  maxPixels?: number;
  exif?: 'ignore' | 'apply';
}

/** A resized image and where its centre crop lies. */
export interface MidImage extends RawImage {
  readonly place: Placement;
}

/** Bytes copied to the engine between two turns of the event loop. */
const STRIP_BYTES = 1 << 20;
const MAX_MID_PIXELS = 2 ** 26;

/** Resized images of a dataset by index. It owns an engine of one thread, so that resizing does not queue behind a training step. */
export class MidImages {
  /** Images that could not be used, by name, with the reason. */
  readonly skipped = new Map<string, string>();
  private readonly broken = new Map<number, ImageError>();
  private readonly cache = new Map<number, MidImage>();
  private readonly gate: Semaphore;
  private cached = 0;
  private closing: Promise<void> | undefined;

  private constructor(
    readonly dataset: ImageDataset,
    private readonly engine: Engine,
    private readonly options: Required<ResizeOptions>,
  ) {
    this.gate = new Semaphore(options.workers);
  }

  static async open(dataset: ImageDataset, options: ResizeOptions): Promise<MidImages> {
    const filled = { midReso: 1.125, workers: 2, cacheBytes: 2 ** 28, maxPixels: 100e6, exif: 'ignore' as const, ...defined(options) };
    placement(1, 1, { finalReso: filled.reso, midReso: filled.midReso });
    checkInt('workers', filled.workers, 1, 256);
    checkInt('cacheBytes', filled.cacheBytes, 0);
    checkInt('maxPixels', filled.maxPixels, 1);
    checkEnum('exif', filled.exif, ['ignore', 'apply']);
    return new MidImages(dataset, await createEngine({ threads: 1, maxCachedBytes: 2 ** 24 }), filled);
  }

  get closed(): boolean {
    return this.closing !== undefined;
  }

  /** Bytes of resized images that are kept. */
  get cachedBytes(): number {
    return this.cached;
  }

  /** Image `index`. Rejects with ImageError where it cannot be used; then it is in `skipped`. */
  async get(index: number, signal?: AbortSignal): Promise<MidImage> {
    const kept = this.cache.get(index);
    if (kept) return kept;
    const before = this.broken.get(index);
    if (before) throw before;
    try {
      return await this.gate.run(() => this.load(index, signal));
    } catch (error) {
      if (error instanceof ImageError) this.note(index, error);
      throw error;
    }
  }

  /**
   * Image `index`, or where it cannot be used the next one that can, counted up and around: the same one every time. Rejects with
   * DatasetError when there is none.
   */
  async getOrNext(index: number, signal?: AbortSignal): Promise<{ image: MidImage; index: number }> {
    const { length } = this.dataset;
    for (let i = 0; i < length; i++) {
      const at = (index + i) % length;
      try {
        return { image: await this.get(at, signal), index: at };
      } catch (error) {
        if (!(error instanceof ImageError)) throw error;
      }
    }
    const { path } = this.dataset;
    const [first] = this.skipped;
    throw new DatasetError(`${path}: none of its ${length} images can be used; ${first?.[1]}`, { file: path });
  }

  close(): Promise<void> {
    this.closing ??= this.engine.close();
    this.cache.clear();
    return this.closing;
  }

  private note(index: number, error: ImageError): void {
    this.broken.set(index, error);
    const name = this.dataset.name(index);
    this.skipped.set(name, error.message.startsWith(`${name}: `) ? error.message.slice(name.length + 2) : error.message);
  }

  private async load(index: number, signal?: AbortSignal): Promise<MidImage> {
    throwIfAborted(signal);
    const meanwhile = this.cache.get(index);
    if (meanwhile) return meanwhile;
    const name = this.dataset.name(index);
    const bytes = await this.dataset.read(index);
    throwIfAborted(signal);
    const { maxPixels, exif, reso, midReso, cacheBytes } = this.options;
    const decoded = await decodeImage(bytes, { name, maxPixels, exif });
    throwIfAborted(signal);
    const place = placement(decoded.width, decoded.height, { finalReso: reso, midReso });
    if (place.width * place.height > MAX_MID_PIXELS)
      throw new ImageError(`${name}: ${decoded.width} x ${decoded.height} would be resized to ${place.width} x ${place.height}`, {
        file: name,
      });
    const image = { ...(await this.resize(decoded, place)), place };
    if (this.cached + image.data.length <= cacheBytes && !this.cache.has(index) && !this.closed) {
      this.cache.set(index, image);
      this.cached += image.data.length;
    }
    return image;
  }

  private async resize(image: RawImage, place: Placement): Promise<RawImage> {
    const { width, height } = place;
    if (image.width === width && image.height === height) return image;
    const pixels = await this.upload(image);
    try {
      using resized = this.engine.ops.resizeLanczos(pixels, { outH: height, outW: width });
      return { data: (await resized.read()) as Uint8Array, width, height };
    } finally {
      pixels.dispose();
    }
  }

  // Large images go in strips: one copy of all their bytes would hold up the event loop.
  private async upload({ data, width, height }: RawImage): Promise<Tensor> {
    const { engine } = this;
    if (data.length <= STRIP_BYTES) return engine.tensor(data, [height, width, 3], 'u8');
    const whole = engine.ops.fill({ shape: [height, width, 3], value: 0, dtype: 'u8' });
    const rows = Math.max(1, Math.floor(STRIP_BYTES / (3 * width)));
    try {
      for (let y = 0; y < height; y += rows) {
        const n = Math.min(rows, height - y);
        engine.scope(() => {
          const strip = engine.tensor(data.subarray(3 * y * width, 3 * (y + n) * width), [n, width, 3], 'u8');
          engine.ops.writeSlice(whole, strip, { axis: 0, start: y });
        });
        await engine.throttle();
        await setImmediate();
      }
      return whole;
    } catch (error) {
      whole.dispose();
      throw error;
    }
  }
}

/** The options without those that are undefined. */
export function defined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
