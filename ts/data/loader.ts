// Batches of images: which (sampler), how they look (crop and flip), made ahead of the training step.
import { checkBoolean, checkEnum, checkInt, checkOptions, throwIfAborted } from '../core/check.js';
import { DisposedError } from '../core/errors.js';
import { type Crop, cropInto, drawCrop } from './augment.js';
import type { BatchSource, ImageBatch } from './batch.js';
import type { ImageDataset } from './dataset.js';
import { BatchOrder, type OrderOptions } from './order.js';
import { defined, type MidImage, MidImages, type ResizeOptions } from './source.js';
import { inOrder, Stretches } from './turns.js';

export interface ImageLoaderOptions extends ResizeOptions, OrderOptions {
  /** Mirrors half of the training images; default false, as the reference's --hflip. */
  hflip?: boolean;
  /** Batches made ahead; default 2. */
  prefetch?: number;
}

const OPTIONS: readonly string[] = [
  ...['reso', 'midReso', 'workers', 'cacheBytes', 'maxPixels', 'exif', 'hflip', 'prefetch'],
  ...['mode', 'batchSize', 'seed', 'rank', 'worldSize', 'shuffle', 'fillLast', 'repeatedAug'],
];

/** Crops of one image. */
export interface Views {
  /** [n, reso, reso, 3] bytes. */
  readonly pixels: Uint8Array;
  readonly label: number;
  /** Its place in the dataset: another one than was asked for where that cannot be used. */
  readonly index: number;
}

/**
 * Images of a dataset as batches. mode 'train': shuffled by (seed + epoch) as the reference's sampler, random crop and flip drawn by
 * (seed, epoch, index). mode 'val': in order, centre crop, the ranks share the set out. An image that cannot be used is replaced by the
 * next one that can and listed in `skipped`; sizes of batches stay.
 */
export class ImageLoader implements BatchSource<ImageBatch> {
  readonly iters: number;
  readonly numClasses: number;
  readonly classes: readonly string[];
  readonly skipped: ReadonlyMap<string, string>;
  private readonly stretches = new Stretches();

  private constructor(
    readonly dataset: ImageDataset,
    private readonly images: MidImages,
    private readonly order: BatchOrder,
    private readonly settings: { reso: number; train: boolean; hflip: boolean; prefetch: number; seed: number },
  ) {
    this.iters = order.iters;
    this.numClasses = dataset.numClasses;
    this.classes = dataset.classes;
    this.skipped = images.skipped;
  }

  /** Takes the dataset over: close() closes it too. */
  static async open(dataset: ImageDataset, options: ImageLoaderOptions): Promise<ImageLoader> {
    checkOptions('ImageLoader.open', options, OPTIONS);
    const { hflip = false, prefetch = 2, seed = 0, reso } = options;
    const { mode, batchSize, rank, worldSize, shuffle, fillLast, repeatedAug, ...resize } = options;
    checkBoolean('hflip', hflip);
    checkInt('prefetch', prefetch, 0, 1024);
    checkInt('seed', seed, 0);
    checkEnum('mode', mode, ['train', 'val']);
    const order = new BatchOrder(dataset.length, { mode, batchSize, seed, rank, worldSize, shuffle, fillLast, repeatedAug });
    const { workers, midReso, cacheBytes, maxPixels, exif } = resize;
    const images = await MidImages.open(dataset, defined({ reso, midReso, workers, cacheBytes, maxPixels, exif }));
    return new ImageLoader(dataset, images, order, { reso, train: mode === 'train', hflip, prefetch, seed });
  }

  async *epoch(ep: number, startIt = 0, signal?: AbortSignal): AsyncGenerator<ImageBatch, void, undefined> {
    if (this.images.closed) throw new DisposedError('the loader is closed');
    const batches = this.order.epoch(ep, startIt);
    yield* inOrder(batches.length, this.settings.prefetch, (i, stop) => this.batch(ep, batches[i]!, stop), signal);
  }

  /** Image `index` as the given epochs show it, each view followed by its mirror image where `mirrored`. */
  async views(index: number, epochs: readonly number[], mirrored: boolean, signal?: AbortSignal): Promise<Views> {
    const { reso } = this.settings;
    const bytes = 3 * reso * reso;
    const found = await this.images.getOrNext(index, signal);
    const { data, width } = found.image;
    const pixels = new Uint8Array(epochs.length * bytes * (mirrored ? 2 : 1));
    let at = 0;
    for (const epoch of epochs) {
      const crop = this.crop(found.image, epoch, index);
      for (const flip of mirrored ? [crop.flip, !crop.flip] : [crop.flip]) {
        await this.stretches.run(() => cropInto(pixels, at, data, width, reso, { ...crop, flip }));
        at += bytes;
      }
    }
    return { pixels, label: this.dataset.labels[found.index]!, index: found.index };
  }

  async close(): Promise<void> {
    await this.images.close();
    await this.dataset.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private async batch(ep: number, wanted: readonly number[], signal: AbortSignal): Promise<ImageBatch> {
    const { reso } = this.settings;
    const bytes = 3 * reso * reso;
    const pixels = new Uint8Array(wanted.length * bytes);
    const indices = new Int32Array(wanted.length);
    // all settle before an error leaves: nothing runs on behind it
    const settled = await Promise.allSettled(
      wanted.map(async (index, i) => {
        indices[i] = await this.put(pixels, i * bytes, ep, index, signal);
      }),
    );
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
    return { kind: 'images', pixels, reso, labels: indices.map((index) => this.dataset.labels[index]!), indices };
  }

  /** Writes the crop; the draw belongs to the place that was asked for. Returns the index that was used. */
  private async put(out: Uint8Array, at: number, epoch: number, wanted: number, signal: AbortSignal): Promise<number> {
    const { image, index } = await this.images.getOrNext(wanted, signal);
    await this.stretches.run(() => {
      throwIfAborted(signal);
      cropInto(out, at, image.data, image.width, this.settings.reso, this.crop(image, epoch, wanted));
    });
    return index;
  }

  private crop({ height, width, place }: MidImage, epoch: number, index: number): Crop {
    const { reso, train, hflip, seed } = this.settings;
    return train ? drawCrop(height, width, reso, hflip, { seed, epoch, index }) : { top: place.top, left: place.left, flip: false };
  }
}
