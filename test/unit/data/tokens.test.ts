import { cpSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AbortError, ArgumentError, DatasetError } from '../../../ts/core/errors.js';
import {
  buildTokenCache,
  fingerprint,
  type ImageDataset,
  ImageLoader,
  openDataset,
  type TokenBatch,
  type TokenCacheOptions,
  type Tokenize,
  TokenSource,
  tokensPerImage,
} from '../../../ts/data/index.js';
import { temporaryFolder } from '../checkpoint/temporary.js';
import { png, put, rejection, take } from './pictures.js';

const test = suite('token cache');
const root = temporaryFolder();
const photos = join(root, 'photos');
const N = 7;
const patchNums = [1, 2];
const L = tokensPerImage(patchNums);
const RESO = 8;
const BYTES = 3 * RESO * RESO;
let dataset: ImageDataset;

/** Tokens that tell the picture: sums over its pixels. */
const tokensOf = (pixels: Uint8Array): number[] =>
  Array.from({ length: L }, (_, t) => pixels.reduce((sum, byte, i) => (sum + byte * ((i % (t + 3)) + 1)) % 60000, t));

let calls = 0;
const tokenize: Tokenize = async (pixels, count) => {
  calls++;
  assert.is(pixels.length, count * BYTES);
  return Int32Array.from(Array.from({ length: count }, (_, i) => tokensOf(pixels.subarray(i * BYTES, (i + 1) * BYTES))).flat());
};

const options = (out: string, more: Partial<TokenCacheOptions> = {}): TokenCacheOptions => ({
  ...{
    out: join(root, out),
    patchNums,
    vocabSize: 60000,
    vqvae: 'abc',
    reso: RESO,
    crops: 3,
    flips: true,
    seed: 4,
    batchSize: 12,
    perShard: 3,
  },
  ...more,
});

const batches = { mode: 'train', batchSize: 2, seed: 9 } as const;

test.before(async () => {
  for (let i = 0; i < N; i++) put(photos, `${'ab'[i % 2]}/${i}.png`, i === 4 ? 'broken' : await png(20 + i, 14 + i, i));
  dataset = await openDataset(photos);
});

test('the variants of an image are its crops by epoch and their mirror images', async () => {
  const index = await buildTokenCache(dataset, tokenize, options('a'));
  assert.equal(
    [...index.labels],
    [...dataset.labels].map((label, i) => (i === 2 ? dataset.labels[3] : label)),
  );
  assert.is(dataset.name(2), join(photos, 'a/4.png'));
  assert.equal(index.replaced, { 2: 3 });
  assert.equal(Object.keys(index.skipped), [join(photos, 'a/4.png')]);
  assert.equal(readdirSync(join(root, 'a')).sort(), ['index.json', 'tokens-00000.u16', 'tokens-00001.u16', 'tokens-00002.u16']);
  await using loader = await ImageLoader.open(dataset, { mode: 'train', reso: RESO, batchSize: 1, seed: 4 });
  const stored = readFileSync(join(root, 'a', 'tokens-00001.u16'));
  const { pixels } = await loader.views(4, [0, 1, 2], true);
  const wanted = Array.from({ length: 6 }, (_, v) => tokensOf(pixels.subarray(v * BYTES, (v + 1) * BYTES))).flat();
  const at = 2 * 6 * L;
  assert.equal(
    wanted.map((_, i) => stored.readUInt16LE(at + 2 * i)),
    wanted,
  );
});

test('an epoch draws variants by (seed, epoch, index); the same from memory and from the file, from any start', async () => {
  const path = join(root, 'a');
  const source = await TokenSource.open(path, batches);
  assert.equal([source.iters, source.numClasses, source.skipped.size], [4, 2, 1]);
  assert.match(source.describe(), /random crop is drawn from k = 3 crops per image, each also mirrored/);
  const wanted = await take(source.epoch(1));
  const streamed = await TokenSource.open(path, { ...batches, memoryBytes: 0 });
  assert.equal(await take(streamed.epoch(1)), wanted);
  assert.equal(await take(source.epoch(1, 2)), wanted.slice(2));
  assert.not.equal(await take(source.epoch(2)), wanted);
  await using loader = await ImageLoader.open(dataset, { ...batches, reso: RESO });
  const images = await take(loader.epoch(1));
  for (const part of ['indices', 'labels'] as const)
    assert.equal(
      wanted.map((b) => [...b[part]]),
      images.map((b) => [...b[part]]),
    );
  const drawn = new Set<string>();
  for (let ep = 0; ep < 60; ep++)
    for (const b of await take(source.epoch(ep)))
      for (const [i, index] of b.indices.entries()) drawn.add(`${index}:${b.tokens.slice(i * L, (i + 1) * L)}`);
  const all = [0, 1, 2].map((shard) => readFileSync(join(path, `tokens-0000${shard}.u16`)));
  const stored = new Set<string>();
  for (const [place, shown] of [0, 1, 3, 3, 4, 5, 6].entries()) {
    const bytes = all[Math.floor(place / 3)]!.subarray((place % 3) * 12 * L);
    for (let v = 0; v < 6; v++) stored.add(`${shown}:${Array.from({ length: L }, (_, t) => bytes.readUInt16LE(2 * (v * L + t)))}`);
  }
  assert.equal([...drawn].sort(), [...stored].sort(), 'every variant occurs, and no other');
  await source.close();
});

test('validation keeps centre crops', async () => {
  await buildTokenCache(dataset, tokenize, options('val', { mode: 'val', crops: 1, flips: false }));
  const source = await TokenSource.open(join(root, 'val'), { mode: 'val', batchSize: 7 });
  const [batch] = (await take(source.epoch(0))) as [TokenBatch];
  await using loader = await ImageLoader.open(dataset, { mode: 'val', reso: RESO, batchSize: 7 });
  const [images] = await take(loader.epoch(0));
  assert.equal(batch.tokens, await tokenize(images!.pixels, 7));
  assert.equal(batch.indices, images!.indices);
  assert.match(source.describe(), /centre crops/);
});

test('building stops and goes on: finished shards stay, the result is the same, an unfinished cache does not open', async () => {
  const stop = new AbortController();
  const half = options('half', { signal: stop.signal, onProgress: (done) => done >= 6 && stop.abort() });
  assert.instance(await rejection(buildTokenCache(dataset, tokenize, half)), AbortError);
  const error = await rejection(TokenSource.open(join(root, 'half'), batches));
  assert.instance(error, DatasetError);
  assert.match(error.message, /not finished; run the same command again/);
  assert.match((await rejection(buildTokenCache(dataset, tokenize, options('half', { crops: 2 })))).message, /crops is 3, not 2/);
  truncateSync(join(root, 'half', 'tokens-00001.u16'), 10);
  calls = 0;
  const index = await buildTokenCache(dataset, tokenize, options('half'));
  assert.is(calls, 3, 'the damaged shard in two parts, the missing one in one');
  for (const name of readdirSync(join(root, 'a')))
    assert.equal(readFileSync(join(root, 'half', name)), readFileSync(join(root, 'a', name)), name);
  assert.equal(await buildTokenCache(dataset, tokenize, options('half')), index);
  assert.is(calls, 3, 'a finished cache is not built again');
});

test('a cache of another model or dataset is refused, with what differs', async () => {
  const path = join(root, 'a');
  await (await TokenSource.open(path, { ...batches, expect: { vqvae: 'abc', patchNums, vocabSize: 60000, reso: RESO } })).close();
  for (const [expect, pattern] of [
    [{ vqvae: 'abd' }, /its VQVAE is another one/],
    [{ patchNums: [1, 2, 3] }, /patchNums is 1_2, this run has 1_2_3/],
    [{ reso: 16 }, /reso is 8, this run has 16/],
  ] as const) {
    const error = await rejection(TokenSource.open(path, { ...batches, expect }));
    assert.instance(error, ArgumentError);
    assert.match(error.message, pattern);
  }
  const other = await openDataset(join(photos, 'b'));
  assert.match((await rejection(buildTokenCache(other, tokenize, options('a')))).message, /dataset is/);
  assert.instance(await rejection(buildTokenCache(dataset, tokenize, options('v', { vocabSize: 65537 }))), ArgumentError);
  const outside = await rejection(buildTokenCache(dataset, tokenize, options('w', { vocabSize: 5 })));
  assert.match(outside.message, /the tokenizer gave token \d+: expected 0 to 4/);
  const few = await rejection(buildTokenCache(dataset, async () => new Int32Array(3), options('x')));
  assert.match(few.message, /gave 3 tokens for 12 images/);
});

test('a damaged cache is a DatasetError that names the file', async () => {
  const damaged = (name: string, damage: (path: string) => void): Promise<Error> => {
    const path = join(root, 'damaged');
    rmSync(path, { recursive: true, force: true });
    cpSync(join(root, 'a'), path, { recursive: true });
    damage(join(path, name));
    return rejection(TokenSource.open(path, batches).then((source) => take(source.epoch(0))));
  };
  for (const [name, damage, pattern] of [
    ['tokens-00002.u16', rmSync, /tokens-00002\.u16: is missing/],
    ['tokens-00000.u16', (p: string) => truncateSync(p, 4), /has 4 bytes, expected 180/],
    ['tokens-00000.u16', (p: string) => writeFileSync(p, Buffer.alloc(180, 255)), /token 65535 of image/],
    ['index.json', (p: string) => writeFileSync(p, '{'), /not valid JSON/],
    ['index.json', (p: string) => writeFileSync(p, '{"format":"x"}'), /format "x"/],
    ['index.json', rmSync, /there is no token cache/],
    ['index.json', (p: string) => writeFileSync(p, readFileSync(p, 'utf8').replace('"labels":[', '"labels":[9,')), /out of range/],
  ] as const) {
    const error = await damaged(name, damage);
    assert.instance(error, DatasetError, error.stack);
    assert.match(error.message, pattern);
  }
});

test('fingerprint is the SHA-256 of the file', async () => {
  const file = put(root, 'weights', 'abc');
  assert.is(await fingerprint(file), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.instance(await rejection(fingerprint(join(root, 'none'))), ArgumentError);
});

test.run();
