// Looks at every image of a dataset: what can be used, what is odd, what is there twice.
import { webcrypto } from 'node:crypto';
import sharp, { type Metadata } from 'sharp';
import { checkInt, checkOptions, checkSignal, throwIfAborted } from '../core/check.js';
import { ImageError } from '../core/errors.js';
import type { ImageDataset } from './dataset.js';
import { decodeImage } from './image.js';
import { eachOf } from './turns.js';

export interface InspectOptions {
  /** Images smaller than this are counted. */
  reso?: number;
  /** Images looked at at once; default 4. */
  workers?: number;
  maxPixels?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number, name: string) => void;
}

/** How often images need a conversion, see decodeImage. */
export interface Oddities {
  greyscale: number;
  cmyk: number;
  alpha: number;
  /** With an EXIF orientation other than upright, which is ignored unless exif is 'apply'. */
  rotated: number;
  /** Only the first frame counts. */
  animated: number;
  bits16: number;
}

export interface Range {
  min: number;
  median: number;
  max: number;
}

export interface DatasetReport {
  readonly layout: string;
  readonly path: string;
  readonly images: number;
  readonly usable: number;
  readonly classes: readonly { readonly name: string; readonly images: number }[];
  /** Formats by name. */
  readonly formats: Readonly<Record<string, number>>;
  /** Of usable images, pixels; undefined where there is none. */
  readonly width?: Range;
  readonly height?: Range;
  readonly shortEdge?: Range;
  readonly oddities: Oddities;
  /** Images below `reso`. */
  readonly small: number;
  /** What cannot be used, by name, and why. */
  readonly broken: Readonly<Record<string, string>>;
  /** Names of images with the same bytes. */
  readonly duplicates: readonly (readonly string[])[];
  readonly ignored: Readonly<Record<string, string>>;
  readonly advice: readonly string[];
  /** SHA-256 of every image by name, for comparison with another part. @internal */
  readonly hashes: ReadonlyMap<string, string>;
}

interface Seen {
  name: string;
  hash?: string;
  size?: { width: number; height: number };
  format?: string;
  odd?: readonly (keyof Oddities)[];
  broken?: string;
}

/** Decodes every image and reports. Nothing is changed; only storage that fails rejects (DatasetError), bad images are in the report. */
export async function inspectDataset(dataset: ImageDataset, options: InspectOptions = {}): Promise<DatasetReport> {
  checkOptions('inspectDataset', options, ['reso', 'workers', 'maxPixels', 'signal', 'onProgress']);
  const { reso, workers = 4, maxPixels, signal, onProgress } = options;
  checkInt('reso', reso ?? 1, 1, 16384);
  checkSignal(signal);
  const places = checkInt('workers', workers, 1, 256);
  const seen: Seen[] = new Array(dataset.length);
  let done = 0;
  await eachOf(dataset.length, places, async (i) => {
    throwIfAborted(signal);
    const one = await look(dataset, i, maxPixels);
    seen[i] = one;
    onProgress?.(++done, dataset.length, one.name);
  });
  return report(dataset, seen, reso);
}

async function look(dataset: ImageDataset, index: number, maxPixels?: number): Promise<Seen> {
  const out: Seen = { name: dataset.name(index) };
  try {
    const bytes = await dataset.read(index);
    out.hash = Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)).toString('hex');
    const { width, height } = await decodeImage(bytes, { name: out.name, ...(maxPixels ? { maxPixels } : {}) });
    out.size = { width, height };
    const metadata = await sharp(bytes, { failOn: 'none', limitInputPixels: false }).metadata();
    if (metadata.format) out.format = metadata.format;
    out.odd = oddOf(metadata);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    out.broken = error.message.replace(`${out.name}: `, '');
  }
  return out;
}

/** GIF always has an alpha channel when decoded, and the pictures of a HEIF file are no frames: neither counts. */
const ODD: { readonly [K in keyof Oddities]: (m: Metadata) => boolean } = {
  greyscale: (m) => m.space === 'b-w' || m.space === 'grey16',
  cmyk: (m) => m.space === 'cmyk',
  alpha: (m) => m.hasAlpha === true && m.format !== 'gif',
  rotated: (m) => (m.orientation ?? 1) !== 1,
  animated: (m) => (m.pages ?? 1) > 1 && m.format !== 'heif',
  bits16: (m) => m.depth !== 'uchar',
};
const ODD_KEYS = Object.keys(ODD) as (keyof Oddities)[];

const oddOf = (metadata: Metadata): (keyof Oddities)[] => ODD_KEYS.filter((key) => ODD[key](metadata));

function oddities(seen: readonly Seen[]): Oddities {
  const out: Oddities = { greyscale: 0, cmyk: 0, alpha: 0, rotated: 0, animated: 0, bits16: 0 };
  for (const { odd } of seen) for (const key of odd ?? []) out[key]++;
  return out;
}

function range(values: readonly number[]): Range | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  return { min: sorted[0]!, median: sorted[Math.floor((sorted.length - 1) / 2)]!, max: sorted.at(-1)! };
}

/** Names by content, where there is more than one. */
export function duplicatesOf(hashes: Iterable<readonly [string, string]>): string[][] {
  const names = new Map<string, string[]>();
  for (const [name, hash] of hashes) names.set(hash, [...(names.get(hash) ?? []), name]);
  return [...names.values()].filter((group) => group.length > 1);
}

function report(dataset: ImageDataset, seen: readonly Seen[], reso?: number): DatasetReport {
  const sizes = seen.flatMap(({ size }) => (size ? [size] : []));
  const counts = new Array<number>(dataset.numClasses).fill(0);
  for (const label of dataset.labels) counts[label]!++;
  const formats: Record<string, number> = {};
  for (const { format } of seen) if (format) formats[format] = (formats[format] ?? 0) + 1;
  const short = sizes.map(({ width, height }) => Math.min(width, height));
  const hashes = new Map(seen.flatMap(({ name, hash }) => (hash ? [[name, hash] as const] : [])));
  const found = {
    layout: dataset.layout,
    path: dataset.path,
    images: dataset.length,
    usable: sizes.length,
    classes: dataset.classes.map((name, i) => ({ name, images: counts[i]! })),
    formats,
    ...defined({ width: range(sizes.map((s) => s.width)), height: range(sizes.map((s) => s.height)), shortEdge: range(short) }),
    oddities: oddities(seen),
    small: reso === undefined ? 0 : short.filter((edge) => edge < reso).length,
    broken: Object.fromEntries(seen.flatMap(({ name, broken }) => (broken === undefined ? [] : [[name, broken]]))),
    duplicates: duplicatesOf(hashes),
    ignored: Object.fromEntries(dataset.ignored),
    hashes,
  };
  return { ...found, advice: advise(found, reso) };
}

const RESOLUTIONS = [64, 128, 256, 512];

function advise(found: Omit<DatasetReport, 'advice'>, reso?: number): string[] {
  const { classes, shortEdge, oddities: odd, small } = found;
  const out: string[] = [];
  if (small > 0)
    out.push(
      `${small} of ${found.usable} images are smaller than ${reso} px and would be enlarged; take a smaller resolution or leave them out`,
    );
  if (reso === undefined && shortEdge) {
    const fits = RESOLUTIONS.filter((r) => r <= shortEdge.median).at(-1);
    out.push(
      fits
        ? `half of the images are at least ${fits} px: train at ${fits} px or below`
        : `half of the images are below ${RESOLUTIONS[0]} px`,
    );
  }
  const empty = classes.filter((c) => c.images === 0).map((c) => c.name);
  if (empty.length > 0) out.push(`${empty.length} classes have no image: ${empty.slice(0, 8).join(', ')}`);
  const filled = classes.map((c) => c.images).filter((n) => n > 0);
  const [least, most] = [Math.min(...filled), Math.max(...filled)];
  if (most > 10 * least) out.push(`classes differ in size by more than ten times (${least} to ${most} images)`);
  if (classes.length === 1) out.push('there is one class: a model trained on it takes no class condition');
  if (odd.rotated > 0)
    out.push(`${odd.rotated} images carry an EXIF orientation, which is ignored as the reference does; set exif to 'apply' to turn them`);
  if (found.duplicates.length > 0) out.push(`${found.duplicates.length} images are there more than once`);
  return out;
}

const defined = <T extends object>(fields: { [K in keyof T]: T[K] | undefined }): Partial<T> =>
  Object.fromEntries(Object.entries(fields).filter(([, v]) => v !== undefined)) as Partial<T>;
