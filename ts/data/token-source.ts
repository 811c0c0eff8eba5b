// Batches from a token cache.
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkInt, checkOptions, throwIfAborted } from '../core/check.js';
import { ArgumentError, DatasetError, DisposedError } from '../core/errors.js';
import { PHILOX_STREAMS } from '../core/philox.js';
import { below, drawWords } from './augment.js';
import type { BatchSource, TokenBatch } from './batch.js';
import { BatchOrder, type OrderOptions } from './order.js';
import { readTokenIndex, type ShardSpan, shardsOf, type TokenIndex, tokensPerImage, variantsOf } from './token-index.js';
import { inOrder } from './turns.js';

export interface TokenSourceOptions extends OrderOptions {
  /** What the model needs; a cache made otherwise is refused. */
  expect?: {
    readonly vqvae?: string;
    readonly patchNums?: readonly number[];
    readonly vocabSize?: number;
    readonly reso?: number;
    readonly midReso?: number;
  };
  /** Batches made ahead; default 2. */
  prefetch?: number;
  /** Caches up to this size are held in memory; default 256 MiB. */
  memoryBytes?: number;
}

const OPTIONS: readonly string[] = [
  ...['expect', 'prefetch', 'memoryBytes', 'mode', 'batchSize', 'seed', 'rank', 'worldSize', 'shuffle', 'fillLast', 'repeatedAug'],
];

/**
 * Tokens of a cache as batches, in the order of ImageLoader. Which variant of an image an epoch shows is drawn by (seed, epoch, index);
 * mode 'val' takes the first. Throws ArgumentError for a cache of another VQVAE, patchNums or resolution, DatasetError for a damaged one.
 */
export class TokenSource implements BatchSource<TokenBatch> {
  readonly iters: number;
  readonly numClasses: number;
  readonly classes: readonly string[];
  readonly skipped: ReadonlyMap<string, string>;
  private readonly shards: readonly ShardSpan[];
  private readonly loaded = new Map<number, Promise<Uint8Array>>();
  private closed = false;

  private constructor(
    readonly path: string,
    readonly index: TokenIndex,
    private readonly order: BatchOrder,
    private readonly settings: { train: boolean; seed: number; prefetch: number; memoryBytes: number },
  ) {
    this.shards = shardsOf(index);
    this.iters = order.iters;
    this.classes = index.classes;
    this.numClasses = index.classes.length;
    this.skipped = new Map(Object.entries(index.skipped));
  }

  static async open(path: string, options: TokenSourceOptions): Promise<TokenSource> {
    checkOptions('TokenSource.open', options, OPTIONS);
    const {
      expect = {},
      prefetch = 2,
      memoryBytes = 2 ** 28,
      seed = 0,
      mode,
      batchSize,
      rank,
      worldSize,
      shuffle,
      fillLast,
      repeatedAug,
    } = options;
    checkInt('prefetch', prefetch, 0, 1024);
    checkInt('memoryBytes', memoryBytes, 0);
    checkInt('seed', seed, 0);
    const index = await readTokenIndex(path);
    refuseOthers(path, index, expect);
    for (const { name, bytes } of shardsOf(index)) await checkShard(join(path, name), bytes);
    const order = new BatchOrder(index.dataset.images, { mode, batchSize, seed, rank, worldSize, shuffle, fillLast, repeatedAug });
    return new TokenSource(path, index, order, { train: mode === 'train', seed, prefetch, memoryBytes });
  }

  /** A line for the log: what stands in place of the random crop. */
  describe(): string {
    const { mode, crops, flips, dataset, reso, seed } = this.index;
    const what = `tokens of ${dataset.images} images at ${reso} px from ${this.path}`;
    if (mode === 'val') return `${what}: centre crops`;
    const mirrored = flips ? ', each also mirrored' : '';
    return `${what}: the random crop is drawn from k = ${crops} crops per image${mirrored} (made with seed ${seed}), not from all positions`;
  }

  async *epoch(ep: number, startIt = 0, signal?: AbortSignal): AsyncGenerator<TokenBatch, void, undefined> {
    const batches = this.order.epoch(ep, startIt);
    yield* inOrder(batches.length, this.settings.prefetch, (i, stop) => this.batch(ep, batches[i]!, stop), signal);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.loaded.clear();
  }

  private async batch(epoch: number, places: readonly number[], signal: AbortSignal): Promise<TokenBatch> {
    if (this.closed) throw new DisposedError('the token source is closed');
    const { index, settings } = this;
    const length = tokensPerImage(index.patchNums);
    const tokens = new Int32Array(places.length * length);
    for (const [i, place] of places.entries()) {
      throwIfAborted(signal);
      const variants = variantsOf(index);
      const [word] = drawWords({ seed: settings.seed, epoch, index: place }, PHILOX_STREAMS.variant) as [number];
      const row = await this.row(place, settings.train ? below(word, variants) : 0, length);
      for (let t = 0; t < length; t++) {
        const token = row[2 * t]! | (row[2 * t + 1]! << 8);
        if (token >= index.vocabSize)
          throw new DatasetError(`${this.path}: token ${token} of image ${place} is outside 0 to ${index.vocabSize - 1}`, {
            file: this.path,
          });
        tokens[i * length + t] = token;
      }
    }
    const labels = Int32Array.from(places, (place) => index.labels[place]!);
    return { kind: 'tokens', tokens, labels, indices: Int32Array.from(places, (place) => index.replaced[place] ?? place) };
  }

  /** Little-endian bytes of one variant of one image. */
  private async row(place: number, variant: number, length: number): Promise<Uint8Array> {
    const { index, shards } = this;
    const shard = Math.floor(place / index.perShard);
    const { name, from } = shards[shard]!;
    const at = 2 * length * ((place - from) * variantsOf(index) + variant);
    const file = join(this.path, name);
    const total = shards.reduce((sum, s) => sum + s.bytes, 0);
    if (total > this.settings.memoryBytes) return await readRow(file, at, 2 * length);
    let bytes = this.loaded.get(shard);
    if (!bytes) {
      bytes = readFile(file).catch((error: NodeJS.ErrnoException) => {
        this.loaded.delete(shard);
        throw new DatasetError(`${file}: cannot be read (${error.code})`, { file, cause: error });
      });
      this.loaded.set(shard, bytes);
    }
    const row = (await bytes).subarray(at, at + 2 * length);
    if (row.length < 2 * length) throw cutOff(file);
    return row;
  }
}

async function readRow(file: string, at: number, bytes: number): Promise<Uint8Array> {
  const out = new Uint8Array(bytes);
  const handle = await open(file, 'r');
  try {
    const { bytesRead } = await handle.read(out, 0, bytes, at);
    if (bytesRead < bytes) throw cutOff(file);
    return out;
  } finally {
    await handle.close();
  }
}

const cutOff = (file: string): DatasetError => new DatasetError(`${file}: the shard is cut off`, { file });

async function checkShard(file: string, bytes: number): Promise<void> {
  const size = await stat(file).then(
    (s) => s.size,
    () => -1,
  );
  if (size === bytes) return;
  throw new DatasetError(`${file}: ${size < 0 ? 'is missing' : `has ${size} bytes`}, expected ${bytes}; build the cache again`, { file });
}

function refuseOthers(path: string, index: TokenIndex, expect: NonNullable<TokenSourceOptions['expect']>): void {
  checkOptions('expect', expect, ['vqvae', 'patchNums', 'vocabSize', 'reso', 'midReso']);
  const wrong = Object.entries(expect).flatMap(([name, wanted]) => {
    const found = index[name as keyof TokenIndex];
    if (wanted === undefined || JSON.stringify(found) === JSON.stringify(wanted)) return [];
    if (name === 'vqvae') return ['its VQVAE is another one than that of this run'];
    return [
      `${name} is ${Array.isArray(found) ? found.join('_') : found}, this run has ${Array.isArray(wanted) ? wanted.join('_') : wanted}`,
    ];
  });
  if (wrong.length > 0) throw new ArgumentError(`token cache ${path} does not fit: ${wrong.join('; ')}; build it again for this model`);
}
