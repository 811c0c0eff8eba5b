// index.json of a token cache: what its tokens were made of, and where they lie.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { show } from '../core/check.js';
import { ArgumentError, DatasetError } from '../core/errors.js';
import type { ImageDataset } from './dataset.js';

export const TOKEN_INDEX = 'index.json';
export const TOKEN_PLAN = 'building.json';

/** What decides the tokens of a cache; two caches with equal plans hold equal tokens. */
export interface TokenPlan {
  readonly format: 'nextscale-token-cache';
  readonly version: 1;
  /** SHA-256 of the VQVAE's weights file. */
  readonly vqvae: string;
  readonly patchNums: readonly number[];
  readonly vocabSize: number;
  readonly reso: number;
  readonly midReso: number;
  /** train: `crops` random crops; val: the centre crop. */
  readonly mode: 'train' | 'val';
  readonly crops: number;
  /** Every crop also mirrored: variants are crop 0, crop 0 mirrored, crop 1 ... */
  readonly flips: boolean;
  readonly seed: number;
  readonly exif: 'ignore' | 'apply';
  /** Images of a shard, the last one may hold fewer. */
  readonly perShard: number;
  readonly dataset: { readonly images: number; readonly sha256: string };
}

export interface TokenIndex extends TokenPlan {
  readonly classes: readonly string[];
  /** Class numbers of the images whose tokens stand at each place. */
  readonly labels: readonly number[];
  /** Places whose own image could not be used, and the image that stands there. */
  readonly replaced: Readonly<Record<string, number>>;
  readonly skipped: Readonly<Record<string, string>>;
}

export const variantsOf = (plan: TokenPlan): number => plan.crops * (plan.flips ? 2 : 1);
export const tokensPerImage = (patchNums: readonly number[]): number => patchNums.reduce((sum, pn) => sum + pn * pn, 0);
export const shardName = (i: number): string => `tokens-${String(i).padStart(5, '0')}.u16`;

export interface ShardSpan {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

/** The shards of a plan, in order. */
export function shardsOf(plan: TokenPlan): ShardSpan[] {
  const { images } = plan.dataset;
  const bytes = 2 * variantsOf(plan) * tokensPerImage(plan.patchNums);
  return Array.from({ length: Math.ceil(images / plan.perShard) }, (_, i) => {
    const [from, to] = [i * plan.perShard, Math.min(images, (i + 1) * plan.perShard)];
    return { name: shardName(i), from, to, bytes: (to - from) * bytes };
  });
}

/** SHA-256 of a file, as hex: the fingerprint of a VQVAE. */
export async function fingerprint(file: string): Promise<string> {
  const hash = createHash('sha256');
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) {
      hash.update(chunk as Uint8Array);
      await setImmediate();
    }
  } catch (error) {
    throw new ArgumentError(`${file} cannot be read (${(error as NodeJS.ErrnoException).code})`, { cause: error });
  }
  return hash.digest('hex');
}

/** Number, order and labels of the images, by the last two parts of their names, so that a dataset may move. */
export function datasetHash(dataset: ImageDataset): string {
  const hash = createHash('sha256');
  hash.update(JSON.stringify(dataset.classes));
  for (let i = 0; i < dataset.length; i++) hash.update(`${dataset.name(i).split('/').slice(-2).join('/')}\0${dataset.labels[i]}\n`);
  return hash.digest('hex');
}

/** Fields in which two plans differ, in words. */
export function differences(a: TokenPlan, b: TokenPlan): string[] {
  const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])] as (keyof TokenPlan)[];
  return keys.filter((k) => JSON.stringify(a[k]) !== JSON.stringify(b[k])).map((k) => `${k} is ${value(a[k])}, not ${value(b[k])}`);
}

const value = (v: unknown): string => (Array.isArray(v) ? v.join('_') : typeof v === 'object' ? JSON.stringify(v) : show(v));

/** Reads a JSON file of a cache; undefined where there is none. */
export async function readJson(folder: string, name: string): Promise<Record<string, unknown> | undefined> {
  const file = join(folder, name);
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new DatasetError(`${file}: cannot be read (${error.code})`, { file, cause: error });
  });
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw new DatasetError(`${file}: not valid JSON (${(error as Error).message})`, { file, cause: error });
  }
}

/** Opens and checks the index of a finished cache. */
export async function readTokenIndex(folder: string): Promise<TokenIndex> {
  const file = join(folder, TOKEN_INDEX);
  const index = (await readJson(folder, TOKEN_INDEX)) as unknown as TokenIndex | undefined;
  if (!index) {
    const why = (await readJson(folder, TOKEN_PLAN))
      ? 'it was not finished; run the same command again to go on'
      : 'there is no token cache';
    throw new DatasetError(`${folder}: ${why}`, { file });
  }
  if (index.format !== 'nextscale-token-cache' || index.version !== 1)
    throw new DatasetError(`${file}: format ${show(index.format)} version ${show(index.version)} is not known`, { file });
  const whole = (v: unknown): boolean => Number.isSafeInteger(v) && (v as number) >= 1;
  const ok =
    Array.isArray(index.patchNums) &&
    index.patchNums.length > 0 &&
    [...index.patchNums, index.vocabSize, index.reso, index.crops, index.perShard, index.dataset?.images].every(whole) &&
    Array.isArray(index.classes) &&
    Array.isArray(index.labels) &&
    index.labels.length === index.dataset.images &&
    index.labels.every((label) => Number.isInteger(label) && label >= 0 && label < index.classes.length);
  if (!ok) throw new DatasetError(`${file}: fields are missing or out of range`, { file });
  return index;
}
