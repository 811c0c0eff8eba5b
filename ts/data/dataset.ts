// What a dataset is, however its images are stored.
import { open, stat } from 'node:fs/promises';
import { DatasetError, ImageError } from '../core/errors.js';

export type DatasetLayout = 'folder' | 'flat' | 'list' | 'shards';

/** Images with class numbers in a fixed order; encoded bytes are read on demand. */
export interface ImageDataset {
  readonly layout: DatasetLayout;
  /** Folder, list or pattern it was opened from. */
  readonly path: string;
  readonly length: number;
  readonly numClasses: number;
  /** Names by class number. */
  readonly classes: readonly string[];
  /** Class numbers by place, [length]. */
  readonly labels: Int32Array;
  /** Files found beside the images that are not part of the dataset, and why. */
  readonly ignored: ReadonlyMap<string, string>;
  /** A name for messages: the file's path, or archive and member. */
  name(index: number): string;
  /** The encoded image. Rejects with ImageError where this image is missing or cut off, DatasetError where storage fails. */
  read(index: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** Extensions of images that can be decoded. */
export const IMAGE_EXTENSIONS: ReadonlySet<string> = new Set(['jpg', 'jpeg', 'png', 'webp', 'gif', 'tif', 'tiff', 'heic', 'heif', 'avif']);
/** Images by their name that no decoder here takes. */
const OTHER_IMAGES: ReadonlySet<string> = new Set([
  'bmp',
  'ppm',
  'pgm',
  'pbm',
  'jp2',
  'j2k',
  'jxl',
  'svg',
  'ico',
  'psd',
  'tga',
  'exr',
  'hdr',
  'raw',
  'dng',
  'nef',
  'cr2',
]);

export function extensionOf(name: string): string {
  const dot = name.lastIndexOf('.');
  return dot <= name.lastIndexOf('/') ? '' : name.slice(dot + 1).toLowerCase();
}

export const isImageName = (name: string): boolean => IMAGE_EXTENSIONS.has(extensionOf(name));

/** Why a file beside the images is left out. */
export function ignoredReason(name: string): string {
  const extension = extensionOf(name);
  return OTHER_IMAGES.has(extension) ? `.${extension} images are not supported` : 'not an image by its extension';
}

/** What of the file system's errors belongs to one file; the rest (EIO, EMFILE ...) fails the run. */
const OWN_FAULT: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  ENOTDIR: 'no such file',
  EISDIR: 'is a folder, not a file',
  EACCES: 'no permission to read it',
  EPERM: 'no permission to read it',
  ELOOP: 'a symbolic link that leads to itself',
  ENAMETOOLONG: 'its name is too long',
};

const MAX_FILE_BYTES = 2 ** 30;

/** Reads `size` bytes (default: to the end) of a file from an offset; `name` is used in messages. */
export async function readPart(path: string, name: string, offset = 0, size?: number): Promise<Uint8Array> {
  try {
    const handle = await open(path, 'r');
    try {
      const wanted = size ?? (await handle.stat()).size;
      if (wanted > MAX_FILE_BYTES) throw new ImageError(`${name}: ${wanted} bytes are more than an image may have`, { file: name });
      const bytes = new Uint8Array(wanted);
      for (let at = 0; at < wanted; ) {
        const { bytesRead } = await handle.read(bytes, at, wanted - at, offset + at);
        if (bytesRead === 0) throw new ImageError(`${name}: the file ends after ${at} of ${wanted} bytes`, { file: name });
        at += bytesRead;
      }
      return bytes;
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw readError(error, name);
  }
}

function readError(error: unknown, name: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (error instanceof ImageError || code === undefined) return error;
  const why = OWN_FAULT[code];
  if (why) return new ImageError(`${name}: ${why}`, { file: name, cause: error });
  return new DatasetError(`${name}: cannot be read (${code})`, { file: name, cause: error });
}

/** 'folder', 'file' or 'none', links followed. */
export async function kindOf(path: string): Promise<'folder' | 'file' | 'none'> {
  return await stat(path).then(
    (s) => (s.isDirectory() ? 'folder' : 'file'),
    () => 'none',
  );
}

/** An image dataset whose images are files of their own. */
export class FileDataset implements ImageDataset {
  readonly length: number;
  readonly numClasses: number;

  constructor(
    readonly layout: DatasetLayout,
    readonly path: string,
    private readonly files: readonly string[],
    readonly classes: readonly string[],
    readonly labels: Int32Array,
    readonly ignored: ReadonlyMap<string, string>,
  ) {
    this.length = files.length;
    this.numClasses = classes.length;
  }

  name(index: number): string {
    return this.files[index]!;
  }

  read(index: number): Promise<Uint8Array> {
    return readPart(this.files[index]!, this.files[index]!);
  }

  async close(): Promise<void> {}
}
