// driver: timeout=300
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { folder, json, nextscale, picture, pixels } from './support.js';

const dir = folder();
const MODEL = fileURLToPath(new URL('../../models/clothing64/', import.meta.url));
const MIB = 2 ** 20;

interface Fit {
  loss: number;
  accuracy: number;
}

interface Demo {
  classes: string[];
  resolution: number;
  images: number;
  reconstruction: { tokens: number; scales: { patchNum: number; psnr: number }[] };
  training: { steps: number; photos: number; batch: number; before: Fit; after: Fit; losses: number[] } | null;
  parts: { name: string; seconds: number }[];
  files: { generated: string; scales: string; reconstructed: string };
}

const small = (out: string, ...more: string[]): Promise<Demo> =>
  json<Demo>(['demo', '--per-class', '1', '--steps', '6', '--out', join(dir, out), ...more]);

/** Cells of a grid of pictures of 2 x `side` pixels: brightness, spread of it. */
async function cells(path: string, side: number, columns: number): Promise<{ mean: number; deviation: number }[]> {
  const { width, data } = await pixels(path);
  const cell = 2 * side;
  assert.is(width, columns * (cell + 8) + 8);
  const top = 7 + 8 + 8;
  return Array.from({ length: columns }, (_, column) => {
    const values: number[] = [];
    for (let y = 0; y < cell; y++)
      for (let x = 0; x < cell; x++) values.push(data[3 * ((top + y) * width + 8 + column * (cell + 8) + x) + 1]!);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { mean, deviation: Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length) };
  });
}

let first: Demo;

test('the demo generates, reconstructs and trains on', async () => {
  first = await small('a');
  const { classes, resolution, reconstruction, training, files } = first;
  assert.is(first.images, classes.length);
  assert.ok(classes.includes('hat') && classes.includes('t-shirt'), classes.join());
  const shown = await cells(files.generated, resolution, classes.length);
  for (const [i, { deviation }] of shown.entries()) assert.ok(deviation > 4, `${classes[i]} is one colour: ${deviation}`);
  assert.is(new Set(shown.map(({ mean }) => mean)).size, classes.length, 'no two images are the same');
  const { scales } = reconstruction;
  assert.is(
    reconstruction.tokens,
    scales.reduce((sum, { patchNum }) => sum + patchNum ** 2, 0),
  );
  assert.ok(scales.at(-1)!.psnr > scales[0]!.psnr + 0.5, 'later scales come nearer to the photos');
  await cells(files.reconstructed, resolution, scales.length + 1);
  await cells(files.scales, resolution, scales.length);
  assert.is(training!.losses.length, 6);
  assert.is(training!.photos, 2 * classes.length);
  assert.ok(training!.after.loss < training!.before.loss, `${training!.before.loss} to ${training!.after.loss}`);
  assert.ok(training!.before.loss < Math.log(512), 'better than guessing');
});

test('the same seed gives the same demo, another one other images', async () => {
  const again = await small('b', '--threads', '1');
  const other = await small('c', '--seed', '1', '--steps', '0');
  assert.equal(again.training!.losses, first.training!.losses);
  assert.equal(again.reconstruction, first.reconstruction);
  for (const name of ['generated', 'scales', 'reconstructed'] as const)
    assert.equal((await pixels(again.files[name])).data, (await pixels(first.files[name])).data, name);
  assert.not.equal((await pixels(other.files.generated)).data, (await pixels(first.files.generated)).data);
  assert.is(other.training, null);
});

test('own images take the place of the photos', async () => {
  const image = await picture(join(dir, 'p.png'), 100);
  const { code, stdout, stderr } = await nextscale(
    ['demo', '--images', image, '--per-class', '1', '--steps', '1', '--out', join(dir, 'own')],
    {},
  );
  assert.is(code, 0, stderr);
  assert.match(stdout, /Reconstructed 1 pictures, \d+ tokens each/);
  assert.match(stdout, /before {2}\d+\.\d{3} nats per token/);
  assert.match(stdout, /The bundled weights are unchanged/);
  assert.match(stderr, /train 1\/1 loss \d/);
});

test('a missing model is an error that names the cure', async () => {
  const { code, stderr } = await nextscale(['demo', '--out', join(dir, 'none')], { env: { NEXTSCALE_DEMO_MODEL: join(dir, 'nowhere') } });
  assert.is(code, 1);
  assert.match(stderr, /vae\.safetensors.*missing.*git checkout/s);
});

test('Ctrl-C during training ends with 130', async () => {
  const args = ['demo', '--per-class', '1', '--steps', '500', '--out', join(dir, 'stopped')];
  const { code, stdout, stderr } = await nextscale(args, { onStderr: (text) => (text.includes('train 1/') ? 'SIGINT' : undefined) });
  assert.is(code, 130, stderr);
  assert.match(stderr, /Interrupted/);
  assert.not.match(stdout, /Trained on/);
});

test('the bundled model is small, and says how it was made', () => {
  const size = (name: string): number => statSync(join(MODEL, name)).size;
  assert.ok(size('vae.safetensors') + size('var.safetensors') <= 12 * MIB);
  const photos = readdirSync(join(MODEL, 'photos'), { recursive: true, withFileTypes: true }).filter((f) => f.name.endsWith('.jpg'));
  const bytes = photos.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  assert.ok(photos.length >= 10 && photos.length <= 20 && bytes <= 150_000, `${photos.length} photos, ${bytes} bytes`);
  assert.ok(existsSync(join(MODEL, 'curves.png')));
  const text = readFileSync(join(MODEL, 'README.md'), 'utf8');
  for (const fact of ['train vqvae', 'data tokens', 'train var', 'convert', 'Seed', 'Machine', 'Wall time', 'Commit'])
    assert.match(text, fact);
  for (const metric of ['PSNR', 'usage', 'perplexity', 'vL_mean', 'vacc_mean', 'frequenc', 'CC0'])
    assert.match(text, new RegExp(metric, 'i'));
  assert.not.match(text, /\/(work|tmp|root|home)\b/, 'no paths of a machine');
});

test.run();
