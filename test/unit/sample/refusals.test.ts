import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, DisposedError, type Engine, type GenerateCall, VAR, VQVAE } from '../../../ts/index.js';
import { liveBytes, refused, rejection, SMALL_VAR, SMALL_VQVAE, type Small, small } from './kit.js';

const test = suite('refused requests');
let engine: Engine;
let models: Small;
let held = 0;

test.before(async () => {
  engine = await createEngine();
  models = await small(engine);
  held = await liveBytes(engine);
});
test.after(async () => {
  models.dispose();
  await engine.close();
});
test.after.each(async () => {
  assert.is(await liveBytes(engine), held, 'nothing is left behind');
  const { images } = await models.model.generate({ labels: [0], seed: 1 });
  assert.is(images.length, 1, 'the engine works on');
});

const refusedAsDisposed = async (work: Promise<unknown>) => assert.instance(await rejection(work), DisposedError);

const cases: readonly [string, unknown, readonly string[]][] = [
  ['label above the classes', { labels: [1, 5] }, ['labels[1]', '5', '[-1, 4]']],
  ['label below -1', { labels: -2 }, ['labels', '-2', '[-1, 4]']],
  ['fractional label', { labels: [0.5] }, ['labels[0]', '0.5']],
  ['label of another type', { labels: ['cat'] }, ['labels[0]', '"cat"']],
  ['empty label list', { labels: [] }, ['labels', '1 to']],
  ['NaN guidance', { labels: 1, cfg: Number.NaN }, ['cfg', 'NaN', '[0, 100]']],
  ['negative guidance', { labels: 1, cfg: -1 }, ['cfg', '-1', '[0, 100]']],
  ['guidance as text', { labels: 1, cfg: '4' }, ['cfg', '"4"']],
  ['top-p above 1', { labels: 1, topP: 1.5 }, ['topP', '1.5', '[0, 1]']],
  ['top-k above the vocabulary', { labels: 1, topK: 33 }, ['topK', '33', '[0, 32]']],
  ['fractional top-k', { labels: 1, topK: 2.5 }, ['topK', '2.5']],
  ['negative seed', { labels: 1, seed: -1 }, ['seed', '-1']],
  ['list of another length', { labels: [1, 2], cfg: [1, 2, 3] }, ['cfg', '2']],
  ['seed list of another length', { labels: [1, 2], seed: [1] }, ['seed', '2']],
  ['perImage of another length', { labels: [1, 2], perImage: [{}] }, ['perImage', '2']],
  ['unknown option of an image', { labels: [1], perImage: [{ topk: 1 }] }, ['perImage[0]', 'topk', 'topK']],
  ['bad option of an image', { labels: [1], perImage: [{ topP: 2 }] }, ['perImage[0].topP', '2', '[0, 1]']],
  ['count beside a list', { labels: [1, 2], count: 3 }, ['count', '3', '2']],
  ['zero images', { count: 0 }, ['count', '0']],
  ['unknown option', { labels: 1, top_k: 3 }, ['top_k', 'topK']],
  ['signal of another type', { labels: 1, signal: 'stop' }, ['signal', 'AbortSignal']],
  ['onScale that is no function', { labels: 1, onScale: 3 }, ['onScale', '3', 'a function']],
  ['tap that is no function', { labels: 1, tap: 'all' }, ['tap', '"all"', 'a function']],
  ['scalePreviews of another type', { labels: 1, scalePreviews: 'yes' }, ['scalePreviews', '"yes"']],
  ['noise of another length', { labels: 1, moreSmooth: true, noise: [new Float32Array(3)] }, ['noise', '32, 128, 288']],
];
for (const [name, options, parts] of cases)
  test(name, async () => {
    await refused(models.model.generate(options as GenerateCall), ...parts);
  });

test('teacher forcing: labels, progSi and shapes', () => {
  using x = engine.ops.fill({ shape: [1, 13, 8] });
  assert.throws(() => models.model.forward([6], x), /labels\[0\] is 6.*\[0, 5\]/);
  assert.throws(() => models.model.forward([1.5], x), /labels\[0\] is 1.5/);
  assert.throws(() => models.model.forward([1], x, { condDropRate: 2 }), /condDropRate is 2/);
  assert.throws(() => models.model.forward([1], x, { progSi: 3 }), /progSi.*3.*-1.*to 2/);
  assert.throws(() => models.model.forward([1, 2], x), /\[1,13,8\].*\[2, 13 or more, 8\]/);
  assert.throws(() => models.model.forward([], x), /empty/);
});

test('images: wrong size, wrong bytes, unreadable files, empty list', async () => {
  const image = (width: number, height: number, bytes = width * height * 3) => ({ data: new Uint8Array(bytes), width, height });
  assert.match((await rejection(models.vqvae.tokenize(image(16, 12)))).message, /images\[0\] is 16 x 12 pixels, this model takes 12 x 12/);
  assert.match((await rejection(models.vqvae.tokenize([image(12, 12), image(12, 12, 7)]))).message, /images\[1\].*7 bytes.*432/);
  await refused(models.vqvae.tokenize([]), 'empty list');
  await refused(models.vqvae.tokenize([null as never]), 'images[0]', 'null');
  const missing = await rejection(models.vqvae.tokenize('/no/such/picture.png'));
  assert.is(missing.name, 'ImageError');
  assert.match(missing.message, /picture\.png/);
  held = await liveBytes(engine);
});

test('tokens: out of range, wrong lengths, wrong number of maps', async () => {
  const maps = (last: number[]) => [new Int32Array(1), new Int32Array(4), Int32Array.from(last)];
  await refused(models.vqvae.decode([]), 'empty list');
  await refused(models.vqvae.decode(maps([1, 2]).slice(0, 2)), '2 maps', '3 scales');
  await refused(models.vqvae.decode(maps([0, 0, 0])), 'tokens[2]', '3 tokens', '9');
  await refused(models.vqvae.decode(maps([0, 0, 0, 0, 32, 0, 0, 0, 0])), 'tokens[2][4]', '32', '31');
});

test('patch lists: empty, wrong last size, no numbers', async () => {
  const image = { data: new Uint8Array(432), width: 12, height: 12 };
  await refused(models.vqvae.tokenize(image, { patchNums: [] }), 'patchNums', 'empty');
  await refused(models.vqvae.tokenize(image, { patchNums: [1, 0] }), 'patchNums[1]', '0');
  assert.match((await rejection(models.vqvae.tokenize(image, { patchNums: [1, 2] }))).message, /12 x 12 pixels, this model takes 8 x 8/);
});

test('a VQVAE of another engine, or none', async () => {
  await using other = await createEngine({ threads: 1 });
  await refused(VAR.init(other, { vqvae: models.vqvae, config: { depth: 1 } }), 'another engine');
  await refused(VAR.init(engine, {} as never), 'vqvae');
  await refused(VAR.load(engine, 'x.pth', undefined as never), 'vqvae');
});

test('options of models and of the VQVAE that are not known or not accepted', async () => {
  const { vqvae, model } = models;
  const any = (value: unknown) => value as never;
  const image = { data: new Uint8Array(432), width: 12, height: 12 };
  await refused(VQVAE.init(any(undefined)), 'engine', 'undefined', 'createEngine');
  await refused(VQVAE.init(engine, any({ channels: 3 })), 'channels', 'vocabSize');
  await refused(VQVAE.init(engine, { ...SMALL_VQVAE, seed: Number.NaN }), 'seed', 'NaN');
  await refused(VQVAE.init(engine, any({ ...SMALL_VQVAE, winograd: 3 })), 'winograd', '3', '0, 2 or 4');
  await refused(VQVAE.load(engine, 'x.pth', any({ encoder: 'late' })), 'encoder', '"late"', 'lazy, eager');
  await refused(VQVAE.load(engine, ''), 'path', '""');
  await refused(VAR.init(engine, any({ vqvae, depth: 2 })), 'depth', 'config');
  await refused(VAR.init(engine, any({ vqvae, config: { depht: 2 } })), 'depht', 'depth');
  await refused(VAR.init(engine, any({ vqvae, dtype: 'int4' })), 'dtype', '"int4"', 'f32, f16, bf16, int8');
  await refused(VAR.init(engine, any({ vqvae, seed: 'x' })), 'seed', '"x"');
  await refused(vqvae.tokenize(image, any({ patchnums: [1] })), 'patchnums', 'patchNums');
  await refused(vqvae.tokenize(image, any({ patchNums: '1,2,3' })), 'patchNums', '"1,2,3"', 'list');
  await refused(vqvae.reconstruct(image, any({ everyscale: true })), 'everyscale', 'everyScale');
  await refused(vqvae.decode([new Int32Array(1)], any({ count: 'x', patchNums: [1] })), 'count', '"x"');
  using x = engine.ops.fill({ shape: [1, 13, 8] });
  assert.throws(() => model.forward([1], x, any({ progsi: 1 })), /unknown option "progsi".*progSi/);
  assert.throws(() => model.forward(any(undefined), x), /labels is undefined/);
  using wrong = engine.ops.fill({ shape: [1, 1, 1, 3] });
  assert.throws(() => vqvae.embedToImg([wrong], true), /\[1,1,1,3\], accepted is \[B, h, w, 8\]/);
});

test('use after dispose', async () => {
  const vqvae = await VQVAE.init(engine, SMALL_VQVAE);
  vqvae.dispose();
  vqvae.dispose();
  const image = { data: new Uint8Array(432), width: 12, height: 12 };
  assert.instance(await rejection(vqvae.decode([new Int32Array(1)])), DisposedError);
  assert.instance(await rejection(vqvae.tokenize(image)), DisposedError);
  const model = await VAR.init(engine, { ...SMALL_VAR, vqvae: models.vqvae });
  await refusedAsDisposed(VAR.init(engine, { ...SMALL_VAR, vqvae }));
  model.dispose();
  assert.instance(await rejection(model.generate({ labels: 1 })), DisposedError);
  assert.throws(() => model.forward([1], null, { progSi: 0 }), /dispose/);
});

test.run();
