import { readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { decodeImage } from '../../ts/data/index.js';
import { crc32c, maskedCrc } from '../../ts/train/tensorboard/crc32c.js';
import { histogramOf } from '../../ts/train/tensorboard/histogram.js';
import { EventWriter } from '../../ts/train/tensorboard/writer.js';
import { readEvents, slowCrc32c, visible } from './event-file.js';
import { fakeRun, folder, stopAfter } from './support.js';

const boardFiles = (out: string): string[] =>
  readdirSync(out)
    .filter((name) => name.startsWith('events.'))
    .sort()
    .map((name) => join(out, name));
const read = (out: string) => boardFiles(out).map((path) => new Uint8Array(readFileSync(path)));

test('CRC-32C: the vectors of RFC 3720 and a reference without a table', () => {
  assert.is(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.is(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.is(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e);
  assert.is(crc32c(new TextEncoder().encode('123456789')), 0xe3069283);
  assert.is(maskedCrc(new Uint8Array(0)), 0xa282ead8);
  const bytes = Uint8Array.from({ length: 777 }, (_, i) => (i * i) & 255);
  assert.is(crc32c(bytes), slowCrc32c(bytes));
});

test('scalars, histograms, images and texts arrive as they were written', async () => {
  const out = folder();
  const clock = () => 1234.5;
  const writer = await EventWriter.open(out, { clock });
  writer.scalar('AR_iter_loss/z_voc_usage', 99.5, -10000);
  writer.scalar('a/b', Math.fround(0.1), 2 ** 40);
  writer.histogram('h', [-2, -2, 0, 0.5, 3, Number.NaN], 7);
  const { encodePng } = await import('../../ts/data/index.js');
  const pixels = Uint8Array.from({ length: 18 }, (_, i) => 10 * i);
  writer.image('img', 3, 2, await encodePng(pixels, 3, 2), 8);
  writer.text('notes', 'zwölf | Kästchen', 9);
  await writer.close();
  const [version, usage, large, histogram, image, note, ...rest] = readEvents(read(out)[0]!);
  assert.equal(rest, []);
  assert.is(version!.fileVersion, 'brain.Event:2');
  assert.equal([usage!.step, usage!.values], [-10000, [{ tag: 'AR_iter_loss/z_voc_usage', simple: 99.5 }]]);
  assert.equal([usage!.wallTime, large!.step, large!.values[0]!.simple], [1234.5, 2 ** 40, Math.fround(0.1)]);
  const h = histogram!.values[0]!.histogram!;
  assert.equal([h.min, h.max, h.num, h.sum, h.sumSquares], [-2, 3, 5, -0.5, 17.25]);
  assert.is(h.limits.length, h.buckets.length);
  assert.is(
    h.buckets.reduce((a, b) => a + b),
    5,
  );
  assert.ok(h.limits.every((limit, i) => i === 0 || limit > h.limits[i - 1]!));
  const { height, width, png } = image!.values[0]!.image!;
  assert.equal([height, width], [2, 3]);
  assert.equal((await decodeImage(png)).data, pixels);
  assert.equal([note!.values[0]!.tag, note!.values[0]!.text, note!.values[0]!.plugin], ['notes/text_summary', 'zwölf | Kästchen', 'text']);
});

test('a wrong byte is found by the reader of this test', async () => {
  const out = folder();
  const writer = await EventWriter.open(out);
  writer.scalar('x', 1, 1);
  await writer.close();
  const bytes = read(out)[0]!;
  for (const at of [3, 20, bytes.length - 8]) {
    const broken = bytes.slice();
    broken[at]! ^= 4;
    assert.throws(() => readEvents(broken), /checksum/);
  }
});

test('every value lies in its bucket', () => {
  const values = [1e-13, 1e-12, -1e-12, 5, -5, 1e19, 1e30, -1e30, 0];
  const h = histogramOf(values);
  let below = 0;
  for (const [i, limit] of h.limits.entries()) {
    below += h.counts[i]!;
    assert.is(below, values.filter((v) => v < limit).length, `below ${limit}`);
  }
  assert.is(h.num, 9);
  assert.equal(histogramOf([Number.NaN]).num, 0);
});

test("a run writes the reference's tags", async () => {
  const out = folder();
  await fakeRun(out);
  const tags = new Set(read(out).flatMap((file) => readEvents(file).flatMap((event) => event.values.map((value) => value.tag))));
  for (const tag of [
    'AR_opt_lr/lr_min/sche_tlr',
    'AR_opt_lr/lr_max/sche_tlr',
    'AR_opt_wd/wd_max/sche_twd',
    'AR_opt_wd/wd_min/sche_twd',
    'AR_opt_grad/grad/grad_norm',
    'AR_opt_grad/grad/grad_clip',
    'AR_iter_loss/L_16',
    'AR_ep_loss/L_mean',
    'AR_ep_loss/L_tail',
    'AR_ep_loss/acc_mean',
    'AR_ep_loss/acc_tail',
    'AR_ep_loss/vL_mean',
    'AR_ep_loss/vL_tail',
    'AR_ep_loss/vacc_mean',
    'AR_ep_loss/vacc_tail',
    'AR_z_burnout/rest_hours',
    'weights',
    'samples/fake',
    'config/text_summary',
  ])
    assert.ok(tags.has(tag), `${tag} is missing`);
});

for (const torn of [false, true])
  test(`a resumed run writes a file behind the others, and no step is seen twice${torn ? ', also when a record was cut off' : ''}`, async () => {
    const [whole, broken] = [folder(), folder()];
    await fakeRun(whole);
    // killed after iteration 12, the checkpoint is of iteration 7
    await fakeRun(broken, {}, {}, stopAfter(12));
    if (torn) {
      const path = boardFiles(broken)[0]!;
      truncateSync(path, readFileSync(path).length - 5);
    }
    await fakeRun(broken);
    assert.is(boardFiles(broken).length, 2);
    for (const tag of ['AR_iter_loss/L_16', 'AR_ep_loss/L_mean', 'AR_opt_lr/lr_max/sche_tlr']) {
      const seen = visible(read(broken), tag);
      assert.equal(new Set(seen.map(([step]) => step)).size, seen.length, `${tag}: a step is seen twice`);
      if (!torn) assert.equal(seen, visible(read(whole), tag));
    }
  });

test('after a rewind the steps that were left are void', async () => {
  const [whole, out] = [folder(), folder()];
  await fakeRun(whole, { save_it: 4 });
  let left = 3;
  await fakeRun(out, { save_it: 4, max_nan: 3 }, { badGrad: (gIt) => gIt >= 9 && left > 0 && left-- > 0 });
  const tag = 'AR_iter_loss/L_16';
  assert.equal(visible(read(out), tag), visible(read(whole), tag));
});

test.run();
