import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AbortError, DatasetError, ImageError } from '../../../ts/core/errors.js';
import { Philox } from '../../../ts/core/philox.js';
import { type ImageDataset, openDataset } from '../../../ts/data/index.js';
import { expandBraces } from '../../../ts/data/shards.js';
import { temporaryFolder } from '../checkpoint/temporary.js';
import { jpeg, png, put, rejection, type TarFile, tar } from './pictures.js';

const test = suite('tar shards');
const root = temporaryFolder();
const images: Buffer[] = [];

test.before(async () => {
  for (let i = 0; i < 4; i++) images.push(await (i % 2 ? jpeg : png)(20 + i, 17, i));
});

const names = (d: ImageDataset): string[] => Array.from({ length: d.length }, (_, i) => d.name(i));

async function same(d: ImageDataset, wanted: readonly Buffer[]): Promise<void> {
  assert.is(d.length, wanted.length);
  for (const [i, bytes] of wanted.entries()) assert.equal(Buffer.from(await d.read(i)), bytes, d.name(i));
}

const LONG = `${'folder/'.repeat(30)}${'n'.repeat(120)}-é`;

function samples(): TarFile[] {
  return [
    { name: './', type: '5' },
    { name: './a/0001.png', data: images[0]! },
    { name: './a/0001.cls', data: '2\n' },
    { name: `${LONG}.jpg`, data: images[1]!, long: 'pax' },
    { name: `${LONG}.json`, data: '{"label": 0, "text": "x"}', long: 'gnu' },
    { name: 'c.d.txt', data: 'not of c' },
    { name: 'c.txt', data: '1' },
    { name: 'c.png', data: images[2]! },
    { name: 'c.jpg', data: images[3]! },
    { name: 'link.png', type: '2' },
    { name: 'alone.cls', data: '3' },
  ];
}

test('members of one base name are one sample; long names in both forms; the rest is named', async () => {
  const d = await openDataset(put(root, 'one.tar', tar(samples())));
  assert.is(d.layout, 'shards');
  await same(d, [images[0]!, images[1]!, images[2]!]);
  assert.equal([...d.labels], [2, 0, 1]);
  assert.is(names(d)[1], `${join(root, 'one.tar')}/${LONG}.jpg`);
  const why = Object.fromEntries([...d.ignored].map(([name, reason]) => [name.slice(join(root, 'one.tar').length + 1), reason]));
  assert.equal(why, {
    'c.d.txt': 'not an image by its extension',
    'c.jpg': 'a second image of the same sample',
    'link.png': 'is a symbolic link',
    alone: 'a sample without an image',
  });
});

test('gzip gives what the plain archive gives, kept or streamed', async () => {
  const plain = await openDataset(join(root, 'one.tar'));
  const file = put(root, 'one.tar.gz', gzipSync(tar(samples())));
  for (const gzipCacheBytes of [undefined, 0]) {
    const d = await openDataset(file, gzipCacheBytes === undefined ? {} : { gzipCacheBytes });
    assert.equal([...d.labels], [...plain.labels]);
    await same(d, [images[0]!, images[1]!, images[2]!]);
    await same(d, [images[0]!, images[1]!, images[2]!]);
  }
});

test('a folder of shards, a pattern, train/ and val/', async () => {
  const folder = join(root, 'many');
  for (const [i, image] of images.entries())
    put(
      folder,
      `train/shard-00${i}.tar`,
      tar([
        { name: 'x.png', data: image },
        { name: 'x.cls', data: ['b', 'a'][i % 2]! },
      ]),
    );
  put(folder, 'val/shard-000.tgz', gzipSync(tar([{ name: 'b/y.png', data: images[0]! }])));
  const d = await openDataset(folder);
  await same(d, images);
  assert.equal([...d.classes, ...d.labels], ['a', 'b', 1, 0, 1, 0]);
  const pattern = await openDataset(join(folder, 'train', 'shard-{003..001}.tar'));
  await same(pattern, [images[3]!, images[2]!, images[1]!]);
  const val = await openDataset(folder, { split: 'val', classes: d.classes });
  assert.equal([...val.labels], [1], 'a folder inside the archive stands in for a label');
  const error = await rejection(openDataset(join(folder, 'train', 'shard-{000..004}.tar')));
  assert.instance(error, DatasetError);
  assert.match(error.message, /shard-004\.tar: no such file/);
  assert.equal(expandBraces('{a,b}-{08..10}'), ['a-08', 'a-09', 'a-10', 'b-08', 'b-09', 'b-10']);
});

test('an archive cut off anywhere is a DatasetError that names it', async () => {
  const whole = tar([
    { name: `${LONG}.png`, data: images[0]!, long: 'pax' },
    { name: `${LONG}.cls`, data: '0', long: 'gnu' },
  ]);
  const data = whole.length - 1024;
  for (let cut = 1; cut < data; cut += 97) {
    const error = await rejection(openDataset(put(root, 'cut.tar', whole.subarray(0, cut))));
    assert.instance(error, DatasetError, `cut at ${cut}: ${error.message}`);
    assert.match(error.message, /cut\.tar: .*(cut off|no image)/, `cut at ${cut}`);
  }
  const unended = await openDataset(put(root, 'unended.tar', whole.subarray(0, data)));
  await same(unended, [images[0]!]);
  const gz = gzipSync(whole);
  for (const cut of [5, gz.length >> 1, gz.length - 4]) {
    const error = await rejection(openDataset(put(root, 'cut.tar.gz', gz.subarray(0, cut))));
    assert.instance(error, DatasetError, `gzip cut at ${cut}: ${error.message}`);
  }
});

test('damaged headers, sizes and compressed data are DatasetErrors', async () => {
  const whole = tar([{ name: 'a.png', data: images[0]! }]);
  const damage = (at: number, value: number): Buffer => {
    const copy = Buffer.from(whole);
    copy[at] = value;
    return copy;
  };
  for (const [bytes, pattern] of [
    [damage(3, 65), /checksum is wrong/],
    [Buffer.from('x'.repeat(2000)), /checksum is wrong/],
    [tar([{ name: 'p', type: 'x', data: '9999999 path=a\n' }]), /pax record/],
    [
      tar([
        { name: 'a.png', data: images[0]! },
        { name: 'a.json', data: '{' },
      ]),
      /json is not valid/,
    ],
    [
      tar([
        { name: 'a.png', data: images[0]! },
        { name: 'a.txt', data: 'a long\ncaption' },
      ]),
      /not a class/,
    ],
    [tar([{ name: 'notes.md', data: 'x' }]), /no image in 1 archives/],
  ] as const) {
    const error = await rejection(openDataset(put(root, 'bad.tar', bytes)));
    assert.instance(error, DatasetError);
    assert.match(error.message, pattern);
  }
  const gz = gzipSync(whole);
  gz[gz.length - 6]! ^= 255;
  assert.match((await rejection(openDataset(put(root, 'bad.tar.gz', gz)))).message, /damaged gzip/);
});

test('random damage never does more than a DatasetError', async () => {
  const whole = tar(samples());
  const random = new Philox(11);
  for (let round = 0; round < 200; round++) {
    const copy = Buffer.from(whole);
    for (let n = 1 + random.below(4); n > 0; n--) copy[random.below(copy.length)] = random.below(256);
    const file = put(root, 'random.tar', round % 2 ? copy.subarray(0, random.below(copy.length)) : copy);
    try {
      const d = await openDataset(file);
      for (let i = 0; i < d.length; i++) await d.read(i);
    } catch (error) {
      assert.ok(error instanceof DatasetError || error instanceof ImageError, (error as Error).stack);
    }
  }
});

test('opening many shards can be aborted', async () => {
  const stop = new AbortController();
  const opening = openDataset(join(root, 'one.tar.gz'), { signal: stop.signal });
  stop.abort();
  assert.instance(await rejection(opening), AbortError);
});

test('an archive that shrinks after it was opened fails the image, not the process', async () => {
  const file = put(root, 'shrinks.tar', tar([{ name: 'a.png', data: images[0]! }]));
  const d = await openDataset(file);
  writeFileSync(file, tar([]).subarray(0, 600));
  const error = await rejection(d.read(0));
  assert.instance(error, ImageError);
  assert.match(error.message, /ends after/);
});

test.run();
