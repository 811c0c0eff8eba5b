// The folder that the code blocks of one document run in: small seeded models, photos, and the package as if installed.
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { type ByteSource, writePth, writeSafetensors } from '../../ts/checkpoint/index.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { VarModel, varConfig } from '../../ts/models/var/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { InitSource, type ParamSpec } from '../../ts/nn/index.js';

export const MODELS = { vae: vqvaeConfig({ ch: 32 }), var: varConfig({ depth: 2 }) };

async function weights(engine: Engine, specs: ParamSpec[], seed: number): Promise<Map<string, ByteSource>> {
  const source = new InitSource(specs, seed);
  const tensors = new Map<string, ByteSource>();
  for (const { name, dtype, shape } of specs) {
    const tensor = source.load(engine, name);
    const data = await tensor.read();
    tensor.dispose();
    tensors.set(name, {
      dtype: dtype === 'i64' ? 'i64' : 'f32',
      shape,
      data: async () => (dtype === 'i64' ? BigInt64Array.from(data, (v) => BigInt(v)) : data),
    });
  }
  return tensors;
}

/** Three smooth pictures with edges: something an encoder has work with, drawn from waves. */
async function photo(path: string, width: number, height: number, phase: number): Promise<void> {
  const pixels = Buffer.alloc(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const [x, y] = [(i % width) / width, Math.floor(i / width) / height];
    const inside = Math.hypot(x - 0.5, y - 0.5) < 0.3 ? 70 : 0;
    for (let c = 0; c < 3; c++) pixels[3 * i + c] = 100 + 80 * Math.sin(6 * x + 4 * y * (c + 1) + phase) + inside;
  }
  await sharp(pixels, { raw: { width, height, channels: 3 } }).toFile(path);
}

const BIRDS = ['owl', 'robin', 'wren'] as const;

/** A dataset of three classes, 24 pictures to train with and 6 to validate. */
async function birds(folder: string): Promise<void> {
  for (const [split, count] of [
    ['train', 8],
    ['val', 2],
  ] as const)
    for (const [c, name] of BIRDS.entries()) {
      mkdirSync(join(folder, split, name), { recursive: true });
      for (let i = 0; i < count; i++)
        await photo(join(folder, split, name, `${name}-${i}.jpg`), 60 + 10 * c, 64, 2 * c + i / 9 + (split === 'val' ? 0.05 : 0));
    }
}

/** Writes the files that docs/inside/testing.md promises to the code blocks. */
export async function writeSamples(folder: string): Promise<void> {
  const engine = await createEngine();
  const vae = await weights(engine, new VqvaeModel(MODELS.vae).parameters(), 1);
  const transformer = await weights(engine, new VarModel(MODELS.var).parameters(), 2);
  await engine.close();
  await writeSafetensors(join(folder, 'vae.safetensors'), vae);
  await writeSafetensors(join(folder, 'var.safetensors'), transformer);
  await writePth(join(folder, 'vae_ch160v4096z32.pth'), vae);
  await writePth(join(folder, 'var_d16.pth'), transformer);
  await photo(join(folder, 'photo.jpg'), 320, 240, 0);
  mkdirSync(join(folder, 'photos'));
  for (const [i, name] of ['a.jpg', 'b.png', 'c.webp'].entries()) await photo(join(folder, 'photos', name), 300 + 20 * i, 280, i + 1);
  await birds(join(folder, 'birds'));
}

/** A fresh folder with a copy of the samples, `nextscale` importable and on the path. */
export function makeFolder(root: string, samples: string): { folder: string; env: Record<string, string> } {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'nextscale-docs-')));
  cpSync(samples, folder, { recursive: true });
  mkdirSync(join(folder, 'node_modules', '.bin'), { recursive: true });
  symlinkSync(root, join(folder, 'node_modules', 'nextscale'));
  for (const name of ['@types', 'sharp', 'undici-types']) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name));
  const command = join(folder, 'node_modules', '.bin', 'nextscale');
  writeFileSync(command, `#!/bin/sh\nexec "${process.execPath}" "${join(root, 'dist', 'cli', 'main.js')}" "$@"\n`);
  chmodSync(command, 0o755);
  writeFileSync(join(folder, 'package.json'), '{ "name": "example", "private": true, "type": "module" }\n');
  const options = {
    target: 'es2022',
    lib: ['es2023', 'esnext.disposable'],
    module: 'nodenext',
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }));
  return { folder, env: { PATH: `${join(folder, 'node_modules', '.bin')}:${process.env.PATH}` } };
}
