// Finds out how a dataset is stored, and opens it.
import { join } from 'node:path';
import { checkEnum, checkInt, checkOptions, checkSignal, checkString } from '../core/check.js';
import { DatasetError } from '../core/errors.js';
import { type ImageDataset, kindOf } from './dataset.js';
import { entriesOf, openFolder } from './folder.js';
import { checkClasses } from './labels.js';
import { LIST_FILE, openList } from './list.js';
import { expandBraces, openShards, SHARD_FILE } from './shards.js';

export type Split = 'train' | 'val';

export interface DatasetOptions {
  /** Which part; default 'train'. 'train' of a path that is not divided is all of it. */
  split?: Split;
  /** Class names by number, for example those of the training part. By default classes.txt, classes.json, or what the data say. */
  classes?: readonly string[];
  /** Bytes of decompressed gzip shards that are kept; default 256 MiB. */
  gzipCacheBytes?: number;
  signal?: AbortSignal;
}

/** Where the parts of a dataset lie. */
export interface Splits {
  readonly train?: string;
  readonly val?: string;
}

const LISTS = ['csv', 'tsv', 'jsonl', 'ndjson'];

/**
 * Opens a dataset and gives its images a fixed order. `path` is
 * - a folder `train/<class>/*` and `val/<class>/*` (ImageFolder), or of class folders, or of images (one class);
 * - a list .csv, .tsv, .jsonl: file names relative to it, labels as names or numbers; or a folder with train.csv and val.csv;
 * - WebDataset shards: a .tar, .tar.gz or .tgz, a pattern such as `shard-{000..127}.tar`, a folder of them, or train/ and val/ of them.
 * Throws DatasetError (nothing found, a damaged archive or list, an unknown class) or ArgumentError.
 */
export async function openDataset(path: string, options: DatasetOptions = {}): Promise<ImageDataset> {
  checkString('path', path);
  checkOptions('openDataset', options, ['split', 'classes', 'gzipCacheBytes', 'signal']);
  const split = checkEnum('split', options.split ?? 'train', ['train', 'val']);
  checkInt('gzipCacheBytes', options.gzipCacheBytes ?? 0, 0);
  checkSignal(options.signal);
  const classes = options.classes && checkClasses([...options.classes], 'classes');
  if (path.includes('{') && (await kindOf(path)) === 'none') return await openShards(expandBraces(path), path, { ...options, classes });
  const splits = await findSplits(path);
  const root = splits[split] ?? (split === 'train' && splits.val === undefined ? path : undefined);
  if (root === undefined) throw new DatasetError(`${path}: there is no part '${split}' in it`, { file: path });
  const kind = await kindOf(root);
  if (kind === 'none') throw new DatasetError(`${root}: no such file or folder`, { file: root });
  if (kind === 'folder') {
    const { files } = await entriesOf(root);
    const shards = files.filter((name) => SHARD_FILE.test(name)).map((name) => join(root, name));
    return shards.length > 0 ? await openShards(shards, root, { ...options, classes }) : await openFolder(root, path, classes);
  }
  if (LIST_FILE.test(root)) return await openList(root, root, classes);
  if (SHARD_FILE.test(root)) return await openShards([root], root, { ...options, classes });
  throw new DatasetError(`${root}: expected a folder of images, a list (.csv, .tsv, .jsonl) or an archive (.tar, .tar.gz)`, { file: root });
}

/** The training and validation parts of a folder: train/ and val/, or lists of these names; none of a path that is not divided. */
export async function findSplits(path: string): Promise<Splits> {
  if ((await kindOf(path)) !== 'folder') return {};
  const out: { train?: string; val?: string } = {};
  for (const split of ['train', 'val'] as const) {
    const candidates = [join(path, split), ...LISTS.map((ending) => join(path, `${split}.${ending}`))];
    for (const candidate of candidates) {
      if (out[split] !== undefined || (await kindOf(candidate)) === 'none') continue;
      out[split] = candidate;
    }
  }
  return out;
}
