import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type RawImage, VQVAE, type VqvaeInitOptions } from '../../../ts/index.js';
import { SMALL_VQVAE, tokensOf } from './kit.js';

const test = suite('VQVAE');
let engine: Engine;
let vqvae: VQVAE;

test.before(async () => {
  engine = await createEngine();
  vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, seed: 1 });
});
test.after(async () => {
  vqvae.dispose();
  await engine.close();
});

/** Smooth stripes, so that images differ. */
function picture(i: number, width = 12, height = 12): RawImage {
  const data = Uint8Array.from({ length: width * height * 3 }, (_, at) => 127 + 120 * Math.sin((at * (i + 1)) / 7 + i));
  return { data, width, height };
}

const bytes = (images: readonly RawImage[]) => images.map((image) => [...image.data]);

test('tokens of an image decode to its reconstruction, after every scale', async () => {
  const images = [picture(0), picture(1)];
  const tokens = await vqvae.tokenize(images);
  assert.equal([tokens.count, tokens.patchNums, tokens.tokens.map((t) => t.length)], [2, [1, 2, 3], [2, 8, 18]]);
  const rec = await vqvae.reconstruct(images, { everyScale: true });
  assert.equal(tokensOf(rec.tokens), tokensOf(tokens.tokens));
  const decoded = await vqvae.decode(tokens, { everyScale: true });
  assert.is(decoded.scales.length, 3);
  for (const si of [0, 1, 2]) assert.equal(bytes(decoded.scales[si]!), bytes(rec.scales[si]!));
  assert.equal(bytes(decoded.images), bytes(rec.images));
  assert.equal(bytes((await vqvae.decode(tokens.tokens)).images), bytes(rec.images));
  assert.not.equal(bytes(rec.images)[0], bytes(rec.images)[1]);
});

test('an image gives the same tokens alone and in a batch', async () => {
  const images = Array.from({ length: 5 }, (_, i) => picture(i));
  const together = await vqvae.tokenize(images);
  const alone = await vqvae.tokenize(images[3]!);
  assert.equal(
    together.tokens.map((map) => [...map.subarray((3 * map.length) / 5, (4 * map.length) / 5)]),
    tokensOf(alone.tokens),
  );
});

test('batches larger than a part: the same as one by one', async () => {
  const large = await VQVAE.init(engine, { ...SMALL_VQVAE, patchNums: [2, 40], seed: 4 });
  const images = Array.from({ length: 4 }, (_, i) => picture(i, 160, 160));
  const together = await large.reconstruct(images);
  for (const [i, image] of images.entries()) {
    const one = await large.reconstruct(image);
    assert.equal([...together.images[i]!.data], [...one.images[0]!.data], `image ${i}`);
  }
  assert.equal(bytes((await large.decode(together)).images), bytes(together.images));
  large.dispose();
});

test('token maps of other sizes, not square', async () => {
  const patchNums = [1, [1, 2], [2, 3]] as const;
  const wide = picture(2, 12, 8);
  const tokens = await vqvae.tokenize(wide, { patchNums });
  assert.equal(
    tokens.tokens.map((t) => t.length),
    [1, 2, 6],
  );
  const rec = await vqvae.reconstruct(wide, { patchNums });
  assert.equal([rec.images[0]!.width, rec.images[0]!.height], [12, 8]);
  assert.equal(bytes((await vqvae.decode(tokens)).images), bytes(rec.images));
});

test('the larger Winograd transform stays close to direct sums', async () => {
  const config = { ...SMALL_VQVAE, patchNums: [1, 8], seed: 5 };
  const images: Float32Array[] = [];
  for (const winograd of [0, 2, 4] as const) {
    const model = await VQVAE.init(engine, { ...config, winograd });
    using fHat = engine.ops.random({ shape: [1, 8, 8, 8], kind: 'normal', seedLo: 3 });
    using image = model.fHatToImg(fHat);
    images.push((await image.read()) as Float32Array);
    model.dispose();
  }
  const error = (i: number) => Math.max(...images[i]!.map((v, at) => Math.abs(v - images[0]![at]!)));
  assert.ok(error(1) > 0 && error(1) < 1e-4, `2: ${error(1)}`);
  assert.ok(error(2) > 0 && error(2) < 1e-3, `4: ${error(2)}`);
});

test('by default the decoder takes the larger transform and the encoder the smaller, 16-bit weights the smaller in both', async () => {
  const config = { ...SMALL_VQVAE, patchNums: [1, 8], seed: 5 };
  const run = async (options: VqvaeInitOptions) => {
    const model = await VQVAE.init(engine, { ...config, ...options });
    using fHat = engine.ops.random({ shape: [1, 8, 8, 8], kind: 'normal', seedLo: 3 });
    using image = model.fHatToImg(fHat);
    using photo = engine.ops.random({ shape: [1, 32, 32, 3], kind: 'uniform', seedLo: 4 });
    using f = await model.encode(photo);
    const result = { image: Array.from(await image.read()), f: Array.from(await f.read()) };
    model.dispose();
    return result;
  };
  const [plain, two, four] = [await run({}), await run({ winograd: 2 }), await run({ winograd: 4 })];
  assert.equal(plain.image, four.image);
  assert.equal(plain.f, two.f);
  assert.not.equal(plain.image, two.image);
  assert.not.equal(plain.f, four.f);
  assert.equal((await run({ dtype: 'f16' })).image, (await run({ dtype: 'f16', winograd: 2 })).image);
});

test('encoding and decoding hold a few maps of the full size at once, not one per layer', async () => {
  await using own = await createEngine();
  const model = await VQVAE.init(own, { ...SMALL_VQVAE, patchNums: [2, 40] });
  await model.loadEncoder();
  await own.flush();
  const { liveBytes } = own.memory();
  const map = 160 * 160 * 32 * 4;
  using fHat = own.ops.fill({ shape: [1, 40, 40, 8] });
  using image = model.fHatToImg(fHat);
  (await model.encode(image)).dispose();
  await own.flush();
  const maps = (own.memory().peakBytes - liveBytes) / map;
  assert.ok(maps > 3 && maps < 9, `${maps} maps`);
  model.dispose();
});

test('the encoder is packed on first use, once', async () => {
  const fresh = await VQVAE.init(engine, SMALL_VQVAE);
  const before = engine.memory().tensors;
  await Promise.all([fresh.tokenize(picture(0)), fresh.tokenize(picture(1))]);
  const after = engine.memory().tensors;
  assert.ok(after > before);
  await fresh.tokenize(picture(2));
  assert.is(engine.memory().tensors, after);
  fresh.dispose();
});

test('idxBlToVarInput: what progSi leaves out', async () => {
  const maps = [1, 4, 9].map((l) => engine.tensor(new Int32Array(l), [1, l]));
  const shapes = [-1, 0, 1, 2].map((progSi) => {
    const x = vqvae.idxBlToVarInput(maps, progSi);
    x?.dispose();
    return x && [...x.shape];
  });
  assert.equal(shapes, [[1, 13, 8], null, [1, 4, 8], [1, 13, 8]]);
  assert.throws(() => vqvae.idxBlToVarInput(maps.slice(0, 2)), /2 scales.*3/);
  for (const map of maps) map.dispose();
});

test.run();
