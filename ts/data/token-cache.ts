// Tokens of a dataset, computed once: uint16 shards and an index, so that training a VAR needs no encoder.
import { mkdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../core/atomic.js';
import {
  checkArray,
  checkBoolean,
  checkEnum,
  checkInt,
  checkNumber,
  checkOptions,
  checkSignal,
  checkString,
  throwIfAborted,
} from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { ImageDataset } from './dataset.js';
import { ImageLoader, type Views } from './loader.js';
import { defined, type ResizeOptions } from './source.js';
import {
  datasetHash,
  differences,
  readJson,
  readTokenIndex,
  type ShardSpan,
  shardsOf,
  TOKEN_INDEX,
  TOKEN_PLAN,
  type TokenIndex,
  type TokenPlan,
  tokensPerImage,
  variantsOf,
} from './token-index.js';

/** Tokens of `count` images: bytes [count, reso, reso, 3] to [count, L], scales in order. */
export type Tokenize = (pixels: Uint8Array, count: number) => Promise<Int32Array>;

export interface TokenCacheOptions extends Omit<ResizeOptions, 'cacheBytes'> {
  /** Folder of the cache; made when missing. A cache half built with the same options is continued. */
  out: string;
  patchNums: readonly number[];
  vocabSize: number;
  /** Fingerprint of the VQVAE: see `fingerprint`. */
  vqvae: string;
  /** 'train' (default): random crops; 'val': the centre crop. */
  mode?: 'train' | 'val';
  /** Random crops per image; default 1. */
  crops?: number;
  /** Keeps every crop mirrored, too; default false. */
  flips?: boolean;
  seed?: number;
  /** Images handed to the tokenizer at once; default 16. */
  batchSize?: number;
  /** Images of one shard; default 2048. What is done when the work stops is whole shards. */
  perShard?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

const RESIZE: readonly string[] = ['reso', 'midReso', 'workers', 'maxPixels', 'exif'];
const OWN: readonly string[] = [
  'out',
  'patchNums',
  'vocabSize',
  'vqvae',
  'mode',
  'crops',
  'flips',
  'seed',
  'batchSize',
  'perShard',
  'signal',
  'onProgress',
];

/**
 * Builds a cache, or finishes one: shards that lie there already under the same plan stay. The index is written last, so a cache is
 * whole or not there. The dataset stays open. Throws ArgumentError (vocabSize above 65536; another cache in the folder), DatasetError.
 */
export async function buildTokenCache(dataset: ImageDataset, tokenize: Tokenize, options: TokenCacheOptions): Promise<TokenIndex> {
  const plan = planOf(dataset, options);
  const { out, signal, batchSize = 16 } = options;
  await mkdir(out, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
    throw new ArgumentError(`out: the folder ${out} cannot be made (${error.code})`, { cause: error });
  });
  if (await agree(out, plan)) return await readTokenIndex(out);
  const resize = defined({ workers: options.workers, maxPixels: options.maxPixels, midReso: plan.midReso, exif: plan.exif });
  const loader = await ImageLoader.open(keepOpen(dataset), {
    ...resize,
    ...{ reso: plan.reso, mode: plan.mode, batchSize, seed: plan.seed, cacheBytes: 0 },
  });
  try {
    const builder = new Builder(loader, tokenize, plan, batchSize, signal);
    const shards = shardsOf(plan);
    for (const shard of shards) {
      await builder.shard(out, shard);
      options.onProgress?.(shard.to, dataset.length);
    }
    const index = builder.index();
    await writeWhole(join(out, TOKEN_INDEX), `${JSON.stringify(index)}\n`, { signal });
    for (const name of [TOKEN_PLAN, ...shards.map((shard) => notesOf(shard.name))]) await unlink(join(out, name)).catch(() => undefined);
    return index;
  } finally {
    await loader.close();
  }
}

/** Labels and replacements of a finished shard, kept until the index holds them. */
interface Notes {
  readonly labels: readonly number[];
  readonly replaced: Readonly<Record<string, number>>;
  readonly skipped: Readonly<Record<string, string>>;
}

const notesOf = (shard: string): string => `${shard}.json`;

function planOf(dataset: ImageDataset, options: TokenCacheOptions): TokenPlan {
  checkOptions('buildTokenCache', options, [...RESIZE, ...OWN]);
  const { reso, midReso = 1.125, mode = 'train', seed = 0, flips = false, crops = 1, perShard = 2048, exif = 'ignore' } = options;
  checkString('out', options.out);
  checkArray('patchNums', options.patchNums, 1, 64).forEach((pn, si) => void checkInt(`patchNums[${si}]`, pn, 1, 1024));
  if (checkInt('vocabSize', options.vocabSize, 1) > 65536)
    throw new ArgumentError(`vocabSize is ${options.vocabSize}: token caches hold 16-bit tokens, at most 65536 codes`);
  checkString('vqvae', options.vqvae);
  checkEnum('mode', mode, ['train', 'val']);
  checkEnum('exif', exif, ['ignore', 'apply']);
  checkInt('reso', reso, 1, 16384);
  checkNumber('midReso', midReso, 1, 16);
  checkInt('crops', crops, 1, 4096);
  checkBoolean('flips', flips);
  checkInt('seed', seed, 0);
  checkInt('perShard', perShard, 1, 1 << 24);
  checkInt('batchSize', options.batchSize ?? 16, 1, 1 << 16);
  checkSignal(options.signal);
  if (mode === 'val' && crops !== 1) throw new ArgumentError(`crops is ${crops}: mode 'val' keeps the centre crop alone`);
  return {
    format: 'nextscale-token-cache',
    version: 1,
    vqvae: options.vqvae,
    patchNums: [...options.patchNums],
    vocabSize: options.vocabSize,
    ...{ reso, midReso, mode, crops, flips, seed, exif, perShard },
    dataset: { images: dataset.length, sha256: datasetHash(dataset) },
  };
}

/** Whether the folder holds this cache already. Where it is empty the plan is laid down; another cache is an ArgumentError. */
async function agree(out: string, plan: TokenPlan): Promise<boolean> {
  const index = await readJson(out, TOKEN_INDEX);
  const before = index ?? (await readJson(out, TOKEN_PLAN));
  if (!before) {
    await writeWhole(join(out, TOKEN_PLAN), `${JSON.stringify(plan)}\n`);
    return false;
  }
  const { classes, labels, replaced, skipped, ...other } = before as unknown as TokenIndex;
  const found = differences(other as TokenPlan, plan);
  if (found.length === 0) return index !== undefined;
  throw new ArgumentError(`out: ${out} holds another token cache (${found.join('; ')}); take another folder, or remove it`);
}

/** The dataset as one that a loader may close without closing it. */
function keepOpen(dataset: ImageDataset): ImageDataset {
  return Object.create(dataset, { close: { value: async () => undefined } }) as ImageDataset;
}

class Builder {
  private readonly length: number;
  private readonly labels: number[] = [];
  private readonly replaced: Record<string, number> = {};
  private readonly skipped: Record<string, string> = {};

  constructor(
    private readonly loader: ImageLoader,
    private readonly tokenize: Tokenize,
    private readonly plan: TokenPlan,
    private readonly batchSize: number,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.length = tokensPerImage(plan.patchNums);
  }

  index(): TokenIndex {
    const { labels, replaced, skipped } = this;
    return { ...this.plan, classes: [...this.loader.classes], labels, replaced, skipped };
  }

  /** Computes and writes a shard, unless it lies there whole. */
  async shard(out: string, span: ShardSpan): Promise<void> {
    const { name, bytes } = span;
    const file = join(out, name);
    const size = await stat(file).then(
      (s) => s.size,
      () => -1,
    );
    const before = (await readJson(out, notesOf(name))) as Notes | undefined;
    if (size === bytes && before) return this.take(before);
    const { tokens, notes } = await this.compute(span);
    const little = Buffer.from(tokens.buffer);
    if (BIG_ENDIAN) little.swap16();
    await writeWhole(file, little, { signal: this.signal });
    await writeWhole(join(out, notesOf(name)), `${JSON.stringify(notes)}\n`, { signal: this.signal });
    this.take(notes);
  }

  private take({ labels, replaced, skipped }: Notes): void {
    for (const label of labels) this.labels.push(label);
    Object.assign(this.replaced, replaced);
    Object.assign(this.skipped, skipped);
  }

  private async compute({ from, to, bytes }: ShardSpan): Promise<{ tokens: Uint16Array; notes: Notes }> {
    const tokens = new Uint16Array(bytes / 2);
    const labels: number[] = [];
    const replaced: Record<string, number> = {};
    const known = new Set(Object.keys(this.skipped));
    const perImage = variantsOf(this.plan) * this.length;
    const atOnce = Math.max(1, Math.floor(this.batchSize / variantsOf(this.plan)));
    for (let at = from; at < to; at += atOnce) {
      const views = await this.views(at, Math.min(to, at + atOnce));
      for (const [i, { label, index }] of views.entries()) {
        labels.push(label);
        if (index !== at + i) replaced[at + i] = index;
      }
      tokens.set(await this.run(views), (at - from) * perImage);
    }
    const skipped = Object.fromEntries([...this.loader.skipped].filter(([image]) => !known.has(image)));
    return { tokens, notes: { labels, replaced, skipped } };
  }

  private async views(from: number, to: number): Promise<Views[]> {
    throwIfAborted(this.signal);
    const epochs = Array.from({ length: this.plan.crops }, (_, crop) => crop);
    const places = Array.from({ length: to - from }, (_, i) => from + i);
    const settled = await Promise.allSettled(places.map((i) => this.loader.views(i, epochs, this.plan.flips, this.signal)));
    return settled.map((result) => {
      if (result.status === 'rejected') throw result.reason;
      return result.value;
    });
  }

  private async run(views: readonly Views[]): Promise<Int32Array> {
    const { plan, length } = this;
    const count = views.length * variantsOf(plan);
    const pixels = new Uint8Array(count * 3 * plan.reso ** 2);
    for (const [i, view] of views.entries()) pixels.set(view.pixels, i * view.pixels.length);
    const tokens = await this.tokenize(pixels, count);
    if (tokens.length !== count * length)
      throw new ArgumentError(`the tokenizer gave ${tokens.length} tokens for ${count} images: expected ${count} x ${length}`);
    const wrong = tokens.findIndex((token) => token < 0 || token >= plan.vocabSize);
    if (wrong >= 0) throw new ArgumentError(`the tokenizer gave token ${tokens[wrong]}: expected 0 to ${plan.vocabSize - 1}`);
    return tokens;
  }
}

/** Shards are little-endian on every machine. */
const BIG_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0;
