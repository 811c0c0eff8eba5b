// driver: timeout=300
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { folder, json, nextscale, pixels } from './support.js';

const dir = folder();
const at = (name: string): string => join(dir, name);
const tiny = ['generate', '--init', 'tiny'];
const BUNDLED = fileURLToPath(new URL('../../models/clothing64/', import.meta.url));

interface Generated {
  out: string;
  files: string[];
  images: { label: number; seed: number; name?: string; width: number; height: number }[];
  random: boolean;
}

test('a grid, single images, and the grid after every scale', async () => {
  const made = await json<Generated>([...tiny, '--labels', '1,207x2', '--seed', '7', '--out', at('a'), '--per-scale']);
  assert.equal(
    made.images.map(({ label, seed }) => [label, seed]),
    [
      [1, 7],
      [207, 8],
      [207, 9],
    ],
  );
  assert.ok(made.random);
  const names = [
    'grid.png',
    ...[0, 1, 2].map((i) => `image-00${i}-label${i === 0 ? 1 : 207}.png`),
    ...[1, 2, 3, 4].map((k) => `grid-scale-0${k}-${k}x${k}.png`),
  ];
  assert.equal(readdirSync(at('a')).sort(), names.sort());
  const single = await pixels(at('a/image-001-label207.png'));
  assert.equal([single.width, single.height], [64, 64]);
  const grids = await Promise.all([1, 2, 3, 4].map((k) => pixels(at(`a/grid-scale-0${k}-${k}x${k}.png`))));
  const last = await pixels(at('a/grid.png'));
  assert.equal([last.width, last.height], [3 * 72 + 8, grids[0]!.height]);
  assert.ok(grids[3]!.data.equals(last.data), 'the last scale is the result');
  assert.not.ok(grids[0]!.data.equals(grids[1]!.data), 'scales differ');
});

test('the same seed gives the same image alone, in a batch, and for any number of threads', async () => {
  await json([...tiny, '--labels', '5,6,7', '--seed', '3', '--out', at('b'), '--batch', '2', '--threads', '2']);
  await json([...tiny, '--labels', '6', '--seed', '4', '--out', at('c'), '--threads', '1']);
  assert.ok(readFileSync(at('b/image-001-label6.png')).equals(readFileSync(at('c/image-000-label6.png'))));
  await json([...tiny, '--labels', '6', '--seed', '5', '--out', at('d')]);
  assert.not.ok(readFileSync(at('d/image-000-label6.png')).equals(readFileSync(at('c/image-000-label6.png'))));
});

test('--precision and --dtype reach the models; the same precision gives the same picture again', async () => {
  const model = ['--vae', join(BUNDLED, 'vae.safetensors'), '--var', join(BUNDLED, 'var.safetensors'), '--labels', '6', '--seed', '4'];
  const make = async (name: string, precision: string, ...more: string[]): Promise<Buffer> => {
    const args = ['generate', ...model, '--out', at(`${name}.png`), '--precision', precision, ...more];
    const made = await json<{ device: string; precision: string }>(args);
    assert.equal([made.device, made.precision], ['cpu', precision]);
    return readFileSync(at(`${name}.png`));
  };
  const narrow = await make('narrow', 'bf16');
  assert.ok(narrow.equals(await make('again', 'bf16')));
  assert.not.ok(narrow.equals(await make('wide', 'f32')));
  assert.not.ok(narrow.equals(await make('mixed', 'bf16', '--dtype', 'f32')));
});

test('random labels come from the seed; names stand in the result', async () => {
  writeFileSync(at('names.txt'), Array.from({ length: 1000 }, (_, i) => `class ${i}`).join('\n'));
  const args = [...tiny, '--random', '3', '--seed', '11', '--class-names', at('names.txt')];
  const a = await json<Generated>([...args, '--out', at('e.png')]);
  const b = await json<Generated>([...args, '--out', at('f.png'), '--batch', '1']);
  assert.equal(a.images, b.images);
  assert.ok(a.images.every((i) => i.label >= 0 && i.label < 1000 && i.name === `class ${i.label}`));
  assert.ok(readFileSync(at('e.png')).equals(readFileSync(at('f.png'))));
});

test('--init says that the weights are random; progress stays on stderr', async () => {
  const said = await nextscale([...tiny, '--out', at('g.png')]);
  assert.is(said.code, 0, said.stderr);
  assert.match(said.stderr, /random .*untrained/);
  assert.match(said.stderr, /generate 4\/4/);
  assert.not.match(said.stdout, /generate 4\/4/);
  const quiet = await nextscale([...tiny, '--out', at('g.png'), '--json']);
  assert.is(quiet.stderr, '');
  assert.ok((JSON.parse(quiet.stdout) as Generated).random);
});

test('bad values are errors of usage that name option, value and what is accepted', async () => {
  const cases: [string[], RegExp][] = [
    [['--labels', '1000'], /--labels.*1000.*0 to 999/],
    [['--cfg', 'nan'], /--cfg.*nan.*accepted/],
    [['--top-p', '1.5'], /--top-p.*1\.5.*accepted/],
    [['--labels', '1', '--random', '2'], /--random/],
    [['--vae', 'x.pth'], /--init/],
    [['--threads', '0'], /--threads.*'0'.*accepted/],
    [['--init', 'd99'], /--init.*d99.*d16/],
    [['--precision', 'fp8'], /--precision.*'fp8'.*f32, f16, bf16/],
    [['--tf32'], /--tf32.*--device cpu.*--device cuda/],
    [['--device', 'tpu'], /--device.*cpu, cuda/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await nextscale([...tiny, '--out', at('never.png'), ...args]);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
  }
  assert.not.ok(existsSync(at('never.png')));
  const none = await nextscale(['generate', '--out', at('never.png')]);
  assert.is(none.code, 2);
  assert.match(none.stderr, /--vae.*--init PRESET/);
});

test.run();
