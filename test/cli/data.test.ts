// driver: timeout=300
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { DatasetReport } from '../../ts/data/index.js';
import { folder, json, nextscale, picture } from './support.js';

const dir = folder();
const photos = join(dir, 'photos');

type Checked = { train: DatasetReport; val: DatasetReport; inBothParts: string[][]; broken: number };

test.before(async () => {
  for (const part of ['train/a', 'train/b', 'val/a', 'val/b']) mkdirSync(join(photos, part), { recursive: true });
  for (const [i, name] of ['train/a/1', 'train/a/2', 'train/b/3', 'train/b/4', 'val/b/6'].entries())
    await picture(join(photos, `${name}.png`), 70 + 10 * i, i);
  cpSync(join(photos, 'train/b/4.png'), join(photos, 'val/a/5.png'));
});

test('data check: a sound dataset', async () => {
  const report = await json<Checked>(['data', 'check', photos, '--reso', '80']);
  assert.equal(
    report.train.classes.map(({ name, images }) => [name, images]),
    [
      ['a', 2],
      ['b', 2],
    ],
  );
  assert.equal([report.train.usable, report.val.usable, report.broken], [4, 2, 0]);
  assert.equal(report.train.formats, { png: 4 });
  assert.equal(report.train.shortEdge, { min: 70, median: 80, max: 100 });
  assert.is(report.train.small, 1);
  assert.match(report.train.advice.join('\n'), /1 of 4 images are smaller than 80 px/);
  assert.equal(report.inBothParts, [[join(photos, 'train/b/4.png'), join(photos, 'val/a/5.png')]]);
  const text = await nextscale(['data', 'check', photos]);
  assert.is(text.code, 0);
  assert.match(text.stdout, /4 images of 2 classes \(folder\)/);
  assert.match(text.stdout, /every image can be used/);
});

test('data check: broken, odd and repeated images end with exit code 1', async () => {
  const odd = join(dir, 'odd');
  mkdirSync(odd);
  const image = sharp(await sharp(join(photos, 'train/a/1.png')).toBuffer());
  await image.clone().toColourspace('b-w').toFile(join(odd, '1-grey.png'));
  await image.clone().toColourspace('cmyk').jpeg().toFile(join(odd, '2-cmyk.jpg'));
  await image.clone().ensureAlpha(0.3).toFile(join(odd, '3-alpha.png'));
  await image.clone().withMetadata({ orientation: 3 }).jpeg().toFile(join(odd, '4-rotated.jpg'));
  await image.clone().toColourspace('rgb16').toFile(join(odd, '5-deep.png'));
  const frames = [join(photos, 'train/a/1.png'), join(photos, 'train/a/1.png')];
  writeFileSync(
    join(odd, '6-moves.gif'),
    await sharp(frames, { join: { animated: true } })
      .gif({ keepDuplicateFrames: true })
      .toBuffer(),
  );
  cpSync(join(odd, '1-grey.png'), join(odd, '7-again.png'));
  writeFileSync(join(odd, '8-cut.jpg'), readFileSync(join(odd, '2-cmyk.jpg')).subarray(0, 300));
  writeFileSync(join(odd, '9.bmp'), 'BM');
  const { code, stdout } = await nextscale(['data', 'check', odd, '--json']);
  assert.is(code, 1);
  const { train, broken } = JSON.parse(stdout) as Checked;
  assert.equal([train.layout, train.images, train.usable, broken], ['flat', 8, 7, 1]);
  assert.equal(train.oddities, { greyscale: 2, cmyk: 1, alpha: 1, rotated: 1, animated: 1, bits16: 1 });
  assert.equal(Object.keys(train.broken), [join(odd, '8-cut.jpg')]);
  assert.equal(train.duplicates, [[join(odd, '1-grey.png'), join(odd, '7-again.png')]]);
  assert.equal(Object.values(train.ignored), ['.bmp images are not supported']);
  const text = await nextscale(['data', 'check', odd]);
  assert.is(text.code, 1);
  assert.match(text.stdout, /8-cut\.jpg: cannot be decoded/);
  assert.match(text.stdout, /2 greyscale, 1 CMYK, 1 with alpha, 1 with an EXIF orientation, 1 animated, 1 16-bit/);
  assert.match(text.stdout, /1 images cannot be used/);
});

test('data check: what is not there is an error', async () => {
  const { code, stderr } = await nextscale(['data', 'check', join(dir, 'nothing')]);
  assert.is(code, 1);
  assert.match(stderr, /nothing: no such file or folder/);
  assert.is((await nextscale(['data', 'check', photos, '--reso', 'x'])).code, 2);
  assert.is((await nextscale(['data', 'chek'])).code, 2);
});

test('data tokens: a cache of a dataset, built once', async () => {
  const vae = join(dir, 'vae.safetensors');
  await json(['init', 'vqvae', '--preset', 'tiny', '--out', vae]);
  const out = join(dir, 'tokens');
  const args = ['data', 'tokens', photos, '--vae', vae, '--crops', '2', '--flips', '--batch', '3', '--out', out];
  const made = await json<{ images: number; variants: number; tokens: number; classes: string[] }>(args);
  assert.equal([made.images, made.variants, made.tokens, ...made.classes], [4, 4, 30, 'a', 'b']);
  assert.is(readFileSync(join(out, 'tokens-00000.u16')).length, 4 * 4 * 30 * 2);
  await json(['tokenize', '--vae', vae, join(photos, 'val/b/6.png'), '--out', join(dir, 'one.json')]);
  const val = join(dir, 'val');
  await json(['data', 'tokens', photos, '--split', 'val', '--vae', vae, '--out', val]);
  const stored = readFileSync(join(val, 'tokens-00000.u16'));
  const one = JSON.parse(readFileSync(join(dir, 'one.json'), 'utf8')) as { images: { scales: number[][] }[] };
  const wanted = one.images[0]!.scales.flat();
  assert.equal(
    wanted.map((_, i) => stored.readUInt16LE(60 + 2 * i)),
    wanted,
  );
  const again = await nextscale([...args.slice(0, -1), val]);
  assert.is(again.code, 2);
  assert.match(again.stderr, /holds another token cache \(mode is "val", not "train"/);
});

test.run();
