// driver: timeout=300
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../../ts/checkpoint/index.js';
import { folder, json, nextscale, picture, pixels } from './support.js';

const dir = folder();
const at = (name: string): string => join(dir, name);

interface Inspected {
  family: string;
  format: string;
  parameters: number;
  dtypes: Record<string, number>;
  config: { depth?: number; embedDim?: number; patchNums: number[]; numClasses?: number };
  tensors: { key: string; dtype: string; shape: number[]; offset: number; byteLength: number }[];
}

test.before(async () => {
  const made = await json<{ out: string; tensors: number; bytes: number }>(['init', 'vqvae', '--preset', 'tiny', '--out', at('vae.pth')]);
  assert.is(made.out, at('vae.pth'));
  assert.is(readFileSync(at('vae.pth')).length, made.bytes);
  await json(['init', 'var', '--preset', 'tiny', '--seed', '4', '--out', at('var.safetensors')]);
});

test('init is decided by the seed', async () => {
  await json(['init', 'var', '--preset', 'tiny', '--seed', '4', '--out', at('same.safetensors')]);
  await json(['init', 'var', '--preset', 'tiny', '--seed', '5', '--out', at('other.safetensors')]);
  const body = (name: string): Buffer => readFileSync(at(name));
  assert.ok(body('same.safetensors').equals(body('var.safetensors')));
  assert.not.ok(body('other.safetensors').equals(body('var.safetensors')));
});

test('inspect tells family, configuration, dtypes and where tensors lie', async () => {
  const v = await json<Inspected>(['inspect', at('var.safetensors')]);
  assert.is(v.family, 'var');
  assert.equal([v.config.depth, v.config.embedDim, v.config.numClasses, v.config.patchNums], [2, 128, 1000, [1, 2, 3, 4]]);
  assert.equal(v.dtypes.i64, 1);
  const t = v.tensors.find((x) => x.key === 'class_emb.weight')!;
  assert.equal(t.shape, [1001, 128]);
  using file = await openCheckpoint(at('var.safetensors'));
  const raw = readFileSync(at('var.safetensors')).subarray(t.offset, t.offset + t.byteLength);
  assert.ok(raw.equals(await file.bytes('class_emb.weight')));
  const p = await json<Inspected>(['inspect', at('vae.pth')]);
  assert.equal([p.family, p.format], ['vqvae', 'pth']);
  const text = await nextscale(['inspect', at('vae.pth'), '--keys']);
  assert.match(text.stdout, /quantize\.embedding\.weight/);
  assert.match(text.stdout, /vqvae/);
});

test('convert goes round without a change, and narrows where asked', async () => {
  await json(['convert', at('vae.pth'), at('vae.safetensors')]);
  await json(['convert', at('vae.safetensors'), at('back.pth')]);
  using a = await openCheckpoint(at('vae.pth'));
  using b = await openCheckpoint(at('back.pth'));
  assert.equal(b.keys().sort(), a.keys().sort());
  for (const key of a.keys()) {
    assert.equal(b.info(key), a.info(key));
    assert.ok(Buffer.from(await a.bytes(key)).equals(await b.bytes(key)), key);
  }
  const narrow = await json<{ verified: boolean }>(['convert', at('var.safetensors'), at('var-f16.pth'), '--dtype', 'f16']);
  assert.ok(narrow.verified);
  const v = await json<Inspected>(['inspect', at('var-f16.pth')]);
  assert.equal(Object.keys(v.dtypes).sort(), ['f16', 'i64']);
  const own = await nextscale(['convert', at('vae.pth'), at('vae.pth')]);
  assert.is(own.code, 2);
  assert.match(own.stderr, /OUT: .*accepted/);
});

test('tokens are written for every scale, the same in both formats, and decode to the reconstruction', async () => {
  mkdirSync(at('photos'), { recursive: true });
  await picture(join(at('photos'), 'a.png'), 64, 0);
  await picture(join(at('photos'), 'b.png'), 90, 40);
  writeFileSync(join(at('photos'), 'notes.txt'), 'no image');
  const vae = ['--vae', at('vae.pth')];
  const made = await json<{ images: string[]; scales: { patchNum: number; tokens: number }[] }>([
    'tokenize',
    ...vae,
    at('photos'),
    '--out',
    at('t.safetensors'),
  ]);
  assert.is(made.images.length, 2);
  assert.equal(
    made.scales.map((s) => s.tokens),
    [1, 4, 9, 16],
  );
  await json(['tokenize', ...vae, at('photos'), '--out', at('t.json')]);
  const list = JSON.parse(readFileSync(at('t.json'), 'utf8')) as { images: { scales: number[][] }[] };
  using file = await openCheckpoint(at('t.safetensors'));
  for (const si of [0, 1, 2, 3]) {
    const raw = new Int32Array((await file.bytes(`scale_0${si}`)).slice().buffer);
    assert.equal(
      [...raw],
      list.images.flatMap((i) => i.scales[si]!),
    );
  }
  await json(['reconstruct', ...vae, '--tokens', at('t.json'), '--out', at('decoded')]);
  const r = await json<{ images: { file: string; out: string; psnr: number[] }[] }>([
    'reconstruct',
    ...vae,
    at('photos'),
    '--out',
    at('recon'),
    '--per-scale',
  ]);
  assert.is(r.images[0]!.psnr.length, 4);
  const strip = await pixels(r.images[0]!.out);
  const decoded = await pixels(join(at('decoded'), 'a-decoded.png'));
  assert.equal([decoded.width, decoded.height], [64, 64]);
  // cells of 64 with gaps of 8: original, then one per scale; the last one is the decoded picture
  const [x, y] = [8 + 4 * 72, 8];
  for (let row = 0; row < 64; row++) {
    const want = decoded.data.subarray(row * 64 * 3, (row + 1) * 64 * 3);
    const from = ((y + row) * strip.width + x) * 3;
    assert.ok(want.equals(strip.data.subarray(from, from + 64 * 3)), `row ${row}`);
  }
});

test('broken input is refused by name, and nothing is left behind', async () => {
  writeFileSync(at('broken.json'), '{"format":"nextscale-tokens","patchNums":[1,2],"images":[{"file":"x","scales":[[1]]}]}');
  const half = at('half.safetensors');
  copyFileSync(at('var.safetensors'), half);
  writeFileSync(half, readFileSync(half).subarray(0, 5000));
  const before = readdirSync(dir).sort();
  const cases: [string[], RegExp][] = [
    [['inspect', half], /half\.safetensors/],
    [['convert', half, at('never.pth')], /half\.safetensors/],
    [['reconstruct', '--vae', at('vae.pth'), '--tokens', at('broken.json'), '--out', at('x1')], /broken\.json/],
    [['reconstruct', '--vae', at('var.safetensors'), at('photos'), '--out', at('x2')], /it is a VAR/],
    [['tokenize', '--vae', at('vae.pth'), at('photos/notes.txt'), '--out', at('never.json')], /notes\.txt/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr, stdout } = await nextscale(args);
    assert.is(code, 1, stderr);
    assert.match(stderr, message);
    assert.is(stdout, '');
  }
  const after = readdirSync(dir).filter((f) => !['x1', 'x2'].includes(f));
  assert.equal(after.sort(), before);
  assert.not.ok(existsSync(at('never.pth')));
});

test.run();
