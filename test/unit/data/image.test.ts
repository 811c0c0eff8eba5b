import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ArgumentError, ImageError } from '../../../ts/core/errors.js';
import { decodeImage, encodePng, makeGrid } from '../../../ts/data/index.js';
import { temporaryFolder } from '../checkpoint/temporary.js';

const test = suite('images');
const folder = temporaryFolder();

const raw = (data: number[], width: number, height: number, channels: 1 | 2 | 3 | 4) =>
  sharp(Uint8Array.from(data), { raw: { width, height, channels } });

async function refused(input: string | Uint8Array, options?: Parameters<typeof decodeImage>[1]): Promise<ImageError> {
  try {
    await decodeImage(input, options);
  } catch (error) {
    if (error instanceof ImageError) return error;
    throw error;
  }
  return assert.unreachable('expected an ImageError') as never;
}

test('alpha is dropped and the hidden colours stay; gray is repeated', async () => {
  const rgba = await raw([1, 2, 3, 0, 200, 100, 50, 128], 2, 1, 4).png().toBuffer();
  assert.equal([...(await decodeImage(rgba)).data], [1, 2, 3, 200, 100, 50]);
  const gray = await raw([7, 9], 2, 1, 1).toColourspace('b-w').png().toBuffer();
  assert.equal([...(await decodeImage(gray)).data], [7, 7, 7, 9, 9, 9]);
});

test('16-bit samples keep their high byte', async () => {
  const png = await sharp(Uint16Array.of(0x12ff, 0xab00, 0x0080), { raw: { width: 1, height: 1, channels: 3 } })
    .toColourspace('rgb16')
    .png()
    .toBuffer();
  assert.is((await sharp(png).metadata()).depth, 'ushort');
  assert.equal([...(await decodeImage(png)).data], [0x12, 0xab, 0x00]);
});

test('colour profiles are ignored', async () => {
  const png = await raw([200, 30, 40], 1, 1, 3).withIccProfile('p3').png().toBuffer();
  assert.ok((await sharp(png).metadata()).icc, 'the file carries its profile');
  const stored = await sharp(png, { ignoreIcc: true }).raw().toBuffer();
  assert.not.equal([...stored], [200, 30, 40]);
  assert.equal([...(await decodeImage(png)).data], [...stored]);
});

test('EXIF orientation is ignored', async () => {
  const jpeg = await raw(new Array(16 * 8 * 3).fill(90), 16, 8, 3)
    .withMetadata({ orientation: 6 })
    .jpeg()
    .toBuffer();
  const { width, height } = await decodeImage(jpeg);
  assert.equal([width, height], [16, 8]);
});

/** An uncompressed 2 x 1 CMYK TIFF, byte by byte. */
function cmykTiff(): Uint8Array {
  const tags: [tag: number, type: 3 | 4, count: number, value: number][] = [
    [256, 3, 1, 2],
    [257, 3, 1, 1],
    [258, 3, 4, 146],
    [259, 3, 1, 1],
    [262, 3, 1, 5],
    [273, 4, 1, 154],
    [277, 3, 1, 4],
    [278, 3, 1, 1],
    [279, 4, 1, 8],
  ];
  const out = Buffer.alloc(162);
  out.write('II*\0', 'latin1');
  out.writeUInt32LE(8, 4);
  out.writeUInt16LE(tags.length, 8);
  for (const [i, [tag, type, count, value]] of tags.entries()) {
    const at = 10 + 12 * i;
    out.writeUInt16LE(tag, at);
    out.writeUInt16LE(type, at + 2);
    out.writeUInt32LE(count, at + 4);
    out.writeUInt32LE(value, at + 8);
  }
  for (let i = 0; i < 4; i++) out.writeUInt16LE(8, 146 + 2 * i);
  out.set([255, 0, 128, 64, 10, 20, 30, 0], 154);
  return out;
}

test('CMYK becomes (255-C)(255-K)/255 without a profile', async () => {
  const divide = (c: number, k: number): number => 255 - k - Math.round((c * (255 - k)) / 255);
  const want = [255, 0, 128].map((c) => divide(c, 64)).concat([10, 20, 30].map((c) => divide(c, 0)));
  assert.equal([...(await decodeImage(cmykTiff())).data], want);
});

test('unreadable input is an ImageError that names file and reason', async () => {
  const png = await raw(
    Array.from({ length: 40 * 40 * 3 }, (_, i) => (i * 7919) % 251),
    40,
    40,
    3,
  )
    .png()
    .toBuffer();
  const files: [string, Uint8Array, RegExp][] = [
    ['empty.png', new Uint8Array(0), /the file is empty/],
    ['text.png', Buffer.from('no picture'), /not an image/],
    ['cut.png', png.subarray(0, png.length / 2), /cannot be decoded/],
    ['drawing.svg', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), /format svg is not accepted/],
  ];
  for (const [name, bytes, reason] of files) {
    const path = join(folder, name);
    writeFileSync(path, bytes);
    const error = await refused(path);
    assert.is(error.file, path);
    assert.match(error.message, reason);
    assert.ok(error.message.includes(path));
  }
  assert.match((await refused(join(folder, 'nowhere.png'))).message, /no such file/);
  mkdirSync(join(folder, 'dir'));
  assert.match((await refused(join(folder, 'dir'))).message, /is a folder/);
  assert.match((await refused(png, { maxPixels: 1599, name: 'upload' })).message, /upload: more than 1599 pixels/);
  assert.is((await decodeImage(png, { maxPixels: 1600 })).width, 40);
});

test('encodePng and decodeImage are inverse', async () => {
  const data = Uint8Array.from({ length: 5 * 3 * 3 }, (_, i) => (i * 37) % 256);
  const back = await decodeImage(await encodePng(data, 5, 3));
  assert.equal([back.width, back.height, [...back.data]], [5, 3, [...data]]);
  await encodePng(data, 5, 4).then(
    () => assert.unreachable(),
    (error: unknown) => assert.instance(error, ArgumentError),
  );
});

test('a grid lays images out row by row', () => {
  const image = (value: number) => ({ data: new Uint8Array(2 * 1 * 3).fill(value), width: 2, height: 1 });
  const grid = makeGrid([image(1), image(2), image(3)], { columns: 2, padding: 1, background: 9 });
  assert.equal([grid.width, grid.height], [7, 5]);
  const red = Array.from({ length: 5 }, (_, y) => Array.from({ length: 7 }, (_, x) => grid.data[(y * 7 + x) * 3]));
  assert.equal(red, [
    [9, 9, 9, 9, 9, 9, 9],
    [9, 1, 1, 9, 2, 2, 9],
    [9, 9, 9, 9, 9, 9, 9],
    [9, 3, 3, 9, 9, 9, 9],
    [9, 9, 9, 9, 9, 9, 9],
  ]);
  assert.throws(
    () => makeGrid([]),
    (error: unknown) => error instanceof ArgumentError,
  );
  assert.throws(() => makeGrid([image(1), { data: new Uint8Array(3), width: 1, height: 1 }]), /image 1 is 1 x 1, the first 2 x 1/);
});

test.run();
