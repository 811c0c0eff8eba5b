// driver: timeout=300
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AbortError, ArgumentError, DatasetError, DisposedError } from '../../../ts/core/errors.js';
import {
  decodeImage,
  encodePng,
  type ImageBatch,
  ImageLoader,
  type ImageLoaderOptions,
  openDataset,
  resizeCrop,
  SyntheticSource,
  TrainSampler,
} from '../../../ts/data/index.js';
import { createEngine } from '../../../ts/engine/index.js';
import { temporaryFolder } from '../checkpoint/temporary.js';
import { jpeg, noise, png, put, rejection, take } from './pictures.js';

const test = suite('image loader');
const root = temporaryFolder();
const good = join(root, 'good');
const N = 11;

const base: ImageLoaderOptions = { mode: 'train', reso: 16, batchSize: 4, seed: 5 };

test.before(async () => {
  for (let i = 0; i < N; i++) put(good, `${'abc'[i % 3]}/${String(i).padStart(2, '0')}.png`, await png(20 + 3 * i, 50 - 2 * i, i));
});

async function open(path: string, options: Partial<ImageLoaderOptions> = {}): Promise<ImageLoader> {
  return await ImageLoader.open(await openDataset(path), { ...base, ...options });
}

async function epoch(options: Partial<ImageLoaderOptions>, ep: number, startIt = 0): Promise<ImageBatch[]> {
  await using loader = await open(good, options);
  return await take(loader.epoch(ep, startIt));
}

test('the same seed and epoch give the same batches for any workers, prefetch, cache and start', async () => {
  const wanted = await epoch({ workers: 1, prefetch: 0, hflip: true }, 3);
  assert.is(wanted.length, 3);
  assert.equal(
    wanted.map((b) => b.labels.length),
    [4, 4, 4],
  );
  for (const options of [
    { workers: 2, prefetch: 2 },
    { workers: 4, prefetch: 5, cacheBytes: 0 },
  ])
    assert.equal(await epoch({ ...options, hflip: true }, 3), wanted);
  for (const startIt of [1, 2, 3]) assert.equal(await epoch({ hflip: true }, 3, startIt), wanted.slice(startIt));
  await using loader = await open(good, { hflip: true });
  await take(loader.epoch(0));
  assert.equal(await take(loader.epoch(3)), wanted, 'from kept images');
  assert.not.equal(await take(loader.epoch(4)), wanted);
  assert.not.equal(await epoch({ hflip: true, seed: 6 }, 3), wanted);
});

test('order is that of the sampler; ranks share an epoch out; a crop belongs to its image', async () => {
  const all = await epoch({}, 2);
  const sampler = new TrainSampler({ datasetLen: N, glbBatchSize: 4, fillLast: true, sameSeedForAllRanks: 5 });
  assert.equal(
    all.flatMap((b) => [...b.indices]),
    sampler.epoch(2),
  );
  const shares = await Promise.all([0, 1].map((rank) => epoch({ worldSize: 2, rank, batchSize: 2 }, 2)));
  assert.equal(
    shares.flat().flatMap((b) => [...b.indices]),
    all.flatMap((b) => [...b.indices]),
  );
  const bytes = 16 * 16 * 3;
  const views = (batches: readonly ImageBatch[]) =>
    batches.flatMap((b) => [...b.indices].map((_, i) => Buffer.from(b.pixels.subarray(i * bytes, (i + 1) * bytes))));
  assert.equal(views(shares.flat()), views(all));
});

test('validation: every image once in order, centre crop, as the single-image transform', async () => {
  await using loader = await open(good, { mode: 'val', batchSize: 5 });
  assert.is(loader.iters, 3);
  const batches = await take(loader.epoch(0));
  assert.equal(
    batches.map((b) => b.labels.length),
    [5, 5, 1],
  );
  assert.equal(
    batches.flatMap((b) => [...b.indices]),
    Array.from({ length: N }, (_, i) => i),
  );
  await using engine = await createEngine({ threads: 1 });
  for (const [i, index] of batches[1]!.indices.entries()) {
    using wanted = resizeCrop(engine, await decodeImage(loader.dataset.name(index)), { finalReso: 16 });
    assert.equal(batches[1]!.pixels.slice(i * 768, (i + 1) * 768), await wanted.read());
  }
  const shares = await Promise.all([0, 1, 2].map((rank) => epoch({ mode: 'val', worldSize: 3, rank }, 0)));
  assert.equal(
    shares.flat().flatMap((b) => [...b.indices]),
    Array.from({ length: N }, (_, i) => i),
  );
});

/** A picture whose pixels tell their place, of the size before the crop. */
async function map(folder: string, width: number, height: number): Promise<void> {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
    const p = Math.floor(i / 3);
    return [p % width, Math.floor(p / width), 200][i % 3]!;
  });
  put(folder, 'map.png', await encodePng(data, width, height));
}

test('crops: every position and both sides occur as often as chance has it, and whole', async () => {
  const folder = join(root, 'map');
  await map(folder, 22, 18);
  await using loader = await open(folder, { batchSize: 1, hflip: true });
  const counts = new Map<string, number>();
  const rounds = 3000;
  let flips = 0;
  for (let ep = 0; ep < rounds; ep++) {
    const { pixels } = await loader.views(0, [ep], false);
    const [x0, x1, y0] = [pixels[0]!, pixels[3]!, pixels[1]!];
    const flip = x1 < x0;
    if (flip) flips++;
    const left = flip ? x0 - 15 : x0;
    for (const [x, y] of [
      [15, 15],
      [0, 7],
    ] as const) {
      const at = 3 * (16 * y + x);
      assert.equal([...pixels.subarray(at, at + 3)], [flip ? left + 15 - x : left + x, y0 + y, 200]);
    }
    counts.set(`${left},${y0}`, (counts.get(`${left},${y0}`) ?? 0) + 1);
  }
  assert.is(counts.size, 7 * 3);
  const expected = rounds / 21;
  const chi2 = [...counts.values()].reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  assert.ok(chi2 < 45, `chi square of 20 degrees is ${chi2}`);
  assert.ok(Math.abs(flips - rounds / 2) < 4 * Math.sqrt(rounds / 4), `${flips} flips`);
  const { pixels } = await loader.views(0, [7], true);
  for (let x = 0; x < 16; x++) assert.is(pixels[3 * x], pixels[768 + 3 * (15 - x)], 'the second view is the mirror image');
});

test('odd images are converted, bad ones named and replaced by the next good one', async () => {
  const folder = join(root, 'odd');
  const { rgb } = await import('./pictures.js');
  const sharp = (await import('sharp')).default;
  const whole = await jpeg(40, 30, 1);
  const files: Record<string, Buffer> = {
    '01-truncated.jpg': whole.subarray(0, whole.length >> 1),
    '02-cmyk.jpg': await rgb(40, 30, 2).toColourspace('cmyk').jpeg().toBuffer(),
    '03-grey.png': await rgb(40, 30, 3).toColourspace('b-w').png().toBuffer(),
    '04-alpha.png': await rgb(40, 30, 4).ensureAlpha(0.5).png().toBuffer(),
    '05-rotated.jpg': await rgb(40, 30, 5).withMetadata({ orientation: 6 }).jpeg().toBuffer(),
    '06-animated.gif': await sharp([await png(20, 20, 6), await png(20, 20, 7)], { join: { animated: true } })
      .gif()
      .toBuffer(),
    '07-deep.png': await rgb(40, 30, 7).toColourspace('rgb16').png().toBuffer(),
    '08-huge.png': await png(200, 120, 8),
    '09-text.png': Buffer.from('not an image'),
    '10-empty.jpg': Buffer.alloc(0),
    '11-thin.png': await png(3, 900, 11),
    '12-last.jpg': Buffer.from(whole.subarray(0, 100)),
  };
  for (const [name, data] of Object.entries(files)) put(folder, name, data);
  await using loader = await open(folder, { mode: 'val', batchSize: 6, maxPixels: 5000, workers: 3 });
  const batches = await take(loader.epoch(0));
  assert.equal(
    batches.map((b) => [...b.indices]),
    [
      [1, 1, 2, 3, 4, 5],
      [6, 10, 10, 10, 10, 1],
    ],
  );
  const skipped = Object.fromEntries([...loader.skipped].map(([name, why]) => [basename(name), why]));
  assert.equal(Object.keys(skipped).sort(), ['01-truncated.jpg', '08-huge.png', '09-text.png', '10-empty.jpg', '12-last.jpg']);
  assert.match(skipped['01-truncated.jpg']!, /^cannot be decoded: /);
  assert.is(skipped['08-huge.png'], 'more than 5000 pixels (option maxPixels)');
  assert.match(skipped['09-text.png']!, /^not an image/);
  assert.is(skipped['10-empty.jpg'], 'the file is empty');
  await using turned = await open(folder, { mode: 'val', batchSize: 6, maxPixels: 5000, exif: 'apply' });
  const upright = await take(turned.epoch(0));
  const image = (b: ImageBatch, i: number): string =>
    createHash('sha256')
      .update(b.pixels.subarray(i * 768, (i + 1) * 768))
      .digest('hex');
  for (let i = 0; i < 6; i++) assert.is(image(upright[0]!, i) === image(batches[0]!, i), i !== 4, `image ${i}`);
});

test('errors: nothing usable, storage, abort, close, wrong options', async () => {
  const broken = join(root, 'broken');
  put(broken, 'a/1.png', 'x');
  put(broken, 'b/2.png', 'y');
  await using none = await open(broken);
  const error = await rejection(take(none.epoch(0)));
  assert.instance(error, DatasetError);
  assert.match(error.message, /none of its 2 images can be used; not an image/);

  const dataset = await openDataset(good);
  const failing = Object.create(dataset, {
    read: { value: async () => Promise.reject(new DatasetError('disk: EIO', { file: 'disk' })) },
  }) as typeof dataset;
  await using storage = await ImageLoader.open(failing, base);
  assert.match((await rejection(take(storage.epoch(0)))).message, /EIO/);
  assert.is(storage.skipped.size, 0);

  const loader = await open(good);
  const stop = new AbortController();
  const seen: ImageBatch[] = [];
  const aborted = (async () => {
    for await (const batch of loader.epoch(0, 0, stop.signal)) {
      seen.push(batch);
      stop.abort();
    }
  })();
  assert.instance(await rejection(aborted), AbortError);
  assert.is(seen.length, 1);
  assert.instance(await rejection(take(loader.epoch(0, 0, AbortSignal.abort()))), AbortError);
  for await (const batch of loader.epoch(1)) {
    assert.is(batch.labels.length, 4);
    break;
  }
  assert.instance(await rejection(take(loader.epoch(0, 4))), ArgumentError);
  await loader.close();
  await loader.close();
  assert.instance(await rejection(take(loader.epoch(0))), DisposedError);
  for (const wrong of [{ batchSize: 0 }, { reso: 0 }, { workers: 0 }, { worldSize: 2, rank: 2 }, { mode: 'test' }, { other: 1 }])
    assert.instance(await rejection(open(good, wrong as Partial<ImageLoaderOptions>)), ArgumentError);
});

test('small sets are kept up to the bound, and come from memory', async () => {
  const dataset = await openDataset(good);
  let reads = 0;
  const counted = Object.create(dataset, {
    read: {
      value: (i: number) => {
        reads++;
        return dataset.read(i);
      },
    },
  }) as typeof dataset;
  await using loader = await ImageLoader.open(counted, base);
  const first = await take(loader.epoch(0));
  assert.is(reads, 11, 'the epoch holds one image twice');
  assert.equal(await take(loader.epoch(0)), first);
  assert.is(reads, 11);
  await using bounded = await ImageLoader.open(counted, { ...base, cacheBytes: 3000 });
  reads = 0;
  await take(bounded.epoch(0));
  await take(bounded.epoch(1));
  assert.ok(reads > 11, `${reads} reads`);
});

test('a large image goes to the engine in strips and comes out the same', async () => {
  const folder = join(root, 'large');
  const data = noise(1500, 700, 3);
  put(folder, 'a.png', await encodePng(data, 1500, 700));
  await using loader = await open(folder, { mode: 'val', batchSize: 1, reso: 64 });
  const [batch] = await take(loader.epoch(0));
  await using engine = await createEngine({ threads: 1 });
  using wanted = resizeCrop(engine, { data, width: 1500, height: 700 }, { finalReso: 64 });
  assert.equal(batch!.pixels, await wanted.read());
});

test('synthetic images: seeded, of all classes, different', async () => {
  const options = { mode: 'train', reso: 16, batchSize: 4, numClasses: 3, images: 10, seed: 2 } as const;
  const source = new SyntheticSource(options);
  assert.equal([source.iters, source.numClasses, source.classes.length], [3, 3, 3]);
  const batches = await take(source.epoch(0));
  assert.equal(await take(new SyntheticSource(options).epoch(0, 1)), batches.slice(1));
  const labels = batches.flatMap((b) => [...b.labels]);
  assert.equal(
    labels,
    batches.flatMap((b) => [...b.indices].map((i) => i % 3)),
  );
  const distinct = new Set(
    batches.flatMap((b) =>
      [...b.indices].map((_, i) =>
        createHash('md5')
          .update(b.pixels.subarray(i * 768, (i + 1) * 768))
          .digest('hex'),
      ),
    ),
  );
  assert.is(distinct.size, 10);
  assert.not.equal((await take(new SyntheticSource({ ...options, seed: 3 }).epoch(0)))[0]!.pixels, batches[0]!.pixels);
  assert.instance(await rejection(take(source.epoch(0, 0, AbortSignal.abort()))), AbortError);
});

test.run();
