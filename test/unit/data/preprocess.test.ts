import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AbortError, ArgumentError, ImageError } from '../../../ts/core/errors.js';
import { encodePng, loadImages, placement, preprocess, resizeCrop } from '../../../ts/data/index.js';
import { createEngine, type Engine } from '../../../ts/engine/index.js';
import { temporaryFolder } from '../checkpoint/temporary.js';

const test = suite<{ engine: Engine }>('preprocess');
const folder = temporaryFolder();

const noise = (width: number, height: number) => ({
  data: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 7919 + (i >> 3)) % 256),
  width,
  height,
});

test.before(async (context) => {
  context.engine = await createEngine({ threads: 1 });
});
test.after(({ engine }) => engine.close());

// Sizes by torchvision's Resize and CenterCrop for round(1.125 * reso), Python's rounding.
test('placement: shorter edge, longer edge truncated, offsets rounded half to even', () => {
  assert.equal(placement(533, 400, { finalReso: 256 }), { width: 383, height: 288, top: 16, left: 64 });
  assert.equal(placement(400, 711, { finalReso: 256 }), { width: 288, height: 511, top: 128, left: 16 });
  assert.equal(placement(131, 98, { finalReso: 100 }), { width: 149, height: 112, top: 6, left: 24 });
  assert.equal(placement(64, 65, { finalReso: 64, midReso: 1 }), { width: 64, height: 65, top: 0, left: 0 });
  assert.equal(placement(64, 67, { finalReso: 64, midReso: 1 }), { width: 64, height: 67, top: 2, left: 0 });
});

test('wrong sizes are ArgumentErrors', ({ engine }) => {
  const isArgument = (error: unknown): boolean => error instanceof ArgumentError;
  assert.throws(() => placement(10, 10, { finalReso: 0 }), isArgument);
  assert.throws(() => placement(10, 10, { finalReso: 8, midReso: 0.5 }), isArgument);
  assert.throws(() => placement(10, 10, { finalReso: 8, midReso: Number.NaN }), isArgument);
  assert.throws(() => resizeCrop(engine, { data: new Uint8Array(5), width: 2, height: 1 }, { finalReso: 8 }), isArgument);
});

test('an image of the right size is only cropped', async ({ engine }) => {
  const image = noise(18, 18);
  using got = resizeCrop(engine, image, { finalReso: 16 });
  const data = await got.read();
  for (let y = 0; y < 16; y++) {
    for (let x = 0; x < 16 * 3; x++) assert.is(data[y * 48 + x], image.data[(y + 1) * 54 + x + 3]);
  }
});

test('the model gets u8 / 255, then x + x - 1, in f32', async ({ engine }) => {
  const image = noise(31, 20);
  using bytes = resizeCrop(engine, image, { finalReso: 16 });
  using x = preprocess(engine, image, { finalReso: 16 });
  const levels = await bytes.read();
  const want = Float32Array.from(levels, (level) => {
    const share = Math.fround(level / 255);
    return Math.fround(Math.fround(share + share) - 1);
  });
  assert.equal(await x.read(), want);
});

test('loadImages makes one batch of files and bytes, whatever their sizes', async ({ engine }) => {
  const images = [noise(40, 30), noise(18, 50), noise(20, 20)];
  const pngs = await Promise.all(images.map((image) => encodePng(image.data, image.width, image.height)));
  writeFileSync(join(folder, 'a.png'), pngs[0]!);
  using batch = await loadImages(engine, [join(folder, 'a.png'), pngs[1]!, pngs[2]!], { reso: 16 });
  assert.equal(batch.shape, [3, 16, 16, 3]);
  const data = await batch.read();
  for (const [i, image] of images.entries()) {
    using one = preprocess(engine, image, { finalReso: 16 });
    assert.equal(data.slice(i * 768, (i + 1) * 768), await one.read());
  }
});

test('loadImages releases everything when a file is bad, the list empty or the signal aborted', async ({ engine }) => {
  await engine.flush();
  const before = engine.memory();
  const png = await encodePng(noise(20, 20).data, 20, 20);
  const error = await loadImages(engine, [png, Buffer.from('broken')], { reso: 16 }).catch((e: unknown) => e);
  assert.instance(error, ImageError);
  assert.match((error as ImageError).message, /^image 1: /);
  assert.instance(await loadImages(engine, [], { reso: 16 }).catch((e: unknown) => e), ArgumentError);
  assert.instance(await loadImages(engine, [png], { reso: 16, signal: AbortSignal.abort() }).catch((e: unknown) => e), AbortError);
  await engine.flush();
  assert.is(engine.memory().liveBytes, before.liveBytes);
});

test.run();
