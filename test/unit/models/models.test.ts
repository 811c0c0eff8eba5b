import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type ByteSource, writePth, writeSafetensors } from '../../../ts/checkpoint/index.js';
import { CheckpointError, createEngine, type Engine, openCheckpoint, VAR, VAR_PRESETS, VQVAE } from '../../../ts/index.js';
import { presetConfig, VarModel, varConfig } from '../../../ts/models/var/index.js';
import { phiIndex, VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { InitSource, type Module } from '../../../ts/nn/index.js';
import { refused, rejection, SMALL_VAR, SMALL_VQVAE, small, tokensOf } from '../sample/kit.js';

const test = suite('models and their files');
let engine: Engine;
let folder: string;

test.before(async () => {
  engine = await createEngine();
  folder = mkdtempSync(join(tmpdir(), 'nextscale-models-'));
});
test.after(async () => {
  await engine.close();
  rmSync(folder, { recursive: true });
});

/** The state dict of a model with seeded weights, names prefixed. */
async function state(model: Module, seed: number, prefix = ''): Promise<Map<string, ByteSource>> {
  const source = new InitSource(model.parameters(), seed);
  const tensors = new Map<string, ByteSource>();
  for (const spec of model.parameters()) {
    using tensor = source.load(engine, spec.name);
    const data = await tensor.read();
    const wide = spec.dtype === 'i64' ? BigInt64Array.from(data, BigInt) : data;
    tensors.set(prefix + spec.name, { dtype: spec.dtype ?? 'f32', shape: spec.shape, data: wide });
  }
  return tensors;
}

const vqvaeModel = (more: object = {}) => new VqvaeModel(vqvaeConfig({ ...SMALL_VQVAE, ...more }));
const SHAPE = { vocabSize: 32, zChannels: 8, patchNums: [1, 2, 3] };
const varModel = (more: object = {}) => new VarModel(varConfig({ ...SHAPE, ...SMALL_VAR.config, ...more }), SMALL_VAR);

async function save(name: string, tensors: Map<string, ByteSource>): Promise<string> {
  const path = join(folder, name);
  if (name.endsWith('.pth')) await writePth(path, tensors);
  else await writeSafetensors(path, tensors);
  return path;
}

test('written and loaded again, in both formats and wrapped, a model generates the same', async () => {
  const want = await small(engine);
  const tokens = tokensOf((await want.model.generate({ labels: [1, 2], seed: 5 })).tokens);
  const files = [
    [await save('vae.safetensors', await state(vqvaeModel(), 1)), await save('var.pth', await state(varModel(), 2))],
    [
      await save('vae.pth', await state(vqvaeModel(), 1, 'module.')),
      await save('wrapped.safetensors', await state(varModel(), 2, '_orig_mod.')),
    ],
  ] as const;
  for (const [vae, transformer] of files) {
    const vqvae = await VQVAE.load(engine, vae, { patchNums: [1, 2, 3] });
    const model = await VAR.load(engine, transformer, { vqvae, config: { numHeads: 2 } });
    assert.equal(tokensOf((await model.generate({ labels: [1, 2], seed: 5 })).tokens), tokens);
    const { images } = await model.generate({ labels: [1], seed: 5 });
    assert.is((await vqvae.tokenize(images)).tokens.length, 3);
    model.dispose();
    vqvae.dispose();
  }
  const both = new Map([...(await state(varModel(), 2, 'trainer.var_wo_ddp.')), ...(await state(vqvaeModel(), 1, 'trainer.vae_local.'))]);
  const file = await openCheckpoint(await save('trainer.pth', both));
  const vqvae = await VQVAE.load(engine, file, { patchNums: [1, 2, 3] });
  const model = await VAR.load(engine, file, { vqvae });
  file.close();
  assert.equal(tokensOf((await model.generate({ labels: [1, 2], seed: 5 })).tokens), tokens);
  model.dispose();
  vqvae.dispose();
  want.dispose();
});

test('the configuration is read from the file', async () => {
  const path = await save('infer.safetensors', await state(vqvaeModel({ shareQuantResi: 3, quantConvKs: 1, numResBlocks: 2 }), 3));
  const vqvae = await VQVAE.load(engine, path);
  const { ch, chMult, numResBlocks, zChannels, vocabSize, shareQuantResi, quantConvKs, patchNums } = vqvae.config;
  assert.equal(
    { ch, chMult, numResBlocks, zChannels, vocabSize, shareQuantResi, quantConvKs, patchNums },
    { ch: 32, chMult: [1, 1, 2], numResBlocks: 2, zChannels: 8, vocabSize: 32, shareQuantResi: 3, quantConvKs: 1, patchNums: [1, 2, 3] },
  );
  for (const variant of [{ sharedAln: true }, { attnL2Norm: false }, { sharedAln: true, attnL2Norm: false, mlpRatio: 2 }]) {
    const model = await VAR.load(engine, await save('variant.safetensors', await state(varModel({ ...variant, numHeads: 1 }), 2)), {
      vqvae,
    });
    for (const [name, value] of Object.entries(variant)) assert.is(model.config[name as keyof typeof model.config], value, name);
    assert.equal([model.config.depth, model.config.embedDim, model.config.numClasses, model.config.numHeads], [2, 64, 5, 1]);
    model.dispose();
  }
  vqvae.dispose();
});

test('weights in f16 and bf16 stay narrow and generate', async () => {
  const { vqvae, model, dispose } = await small(engine);
  const bytes = async (dtype: 'f32' | 'f16' | 'bf16') => {
    const before = engine.memory().liveBytes;
    const narrow = await VAR.init(engine, { ...SMALL_VAR, vqvae, dtype });
    const held = engine.memory().liveBytes - before;
    using x = engine.ops.fill({ shape: [1, 13, 8], value: 0.1 });
    using a = model.forward([1], x);
    using b = narrow.forward([1], x);
    const [want, got] = (await Promise.all([a.read(), b.read()])) as [Float32Array, Float32Array];
    const scale = Math.max(...want.map(Math.abs));
    const error = Math.max(...want.map((v, i) => Math.abs(v - got[i]!))) / scale;
    narrow.dispose();
    return { held, error };
  };
  const [f32, f16, bf16] = [await bytes('f32'), await bytes('f16'), await bytes('bf16')];
  assert.is(f32.error, 0);
  assert.ok(f16.error > 0 && f16.error < 5e-3, `f16 error ${f16.error}`);
  assert.ok(bf16.error > f16.error && bf16.error < 5e-2, `bf16 error ${bf16.error}`);
  assert.ok(f16.held < 0.65 * f32.held, `${f16.held} of ${f32.held} bytes`);
  dispose();
});

test('missing, unexpected and mis-shaped keys are one report', async () => {
  const tensors = await state(varModel(), 2);
  tensors.delete('blocks.0.ffn.fc1.bias');
  tensors.delete('blocks.1.ffn.fc1.bias');
  tensors.set('extra.key', { dtype: 'f32', shape: [2], data: new Float32Array(2) });
  tensors.set('head.bias', { dtype: 'f32', shape: [31], data: new Float32Array(31) });
  const vqvae = await VQVAE.init(engine, SMALL_VQVAE);
  const path = await save('broken.safetensors', tensors);
  const error = await rejection(VAR.load(engine, path, { vqvae }));
  assert.instance(error, CheckpointError);
  for (const part of [path, 'blocks.{0..1}.ffn.fc1.bias', 'extra.key', 'head.bias', '[31]', '[32]'])
    assert.ok(error.message.includes(part), error.message);
  assert.match((await rejection(VAR.load(engine, join(folder, 'vae.pth'), { vqvae }))).message, /no VAR state dict.*VQVAE\.load/);
  assert.match((await rejection(VQVAE.load(engine, join(folder, 'var.pth')))).message, /no VQVAE state dict.*VAR\.load/);
  const cut = join(folder, 'cut.safetensors');
  writeFileSync(cut, new Uint8Array(100));
  assert.instance(await rejection(VQVAE.load(engine, cut)), CheckpointError);
  vqvae.dispose();
});

test('a VQVAE that does not belong is refused, and the right one named', async () => {
  const path = await save('pairing.safetensors', await state(varModel(), 2));
  const check = async (more: object, ...parts: string[]) => {
    const vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, ...more });
    await refused(VAR.load(engine, path, { vqvae }), path, ...parts);
    vqvae.dispose();
  };
  await check({ vocabSize: 64 }, 'vocabSize 32', '64');
  await check({ zChannels: 16 }, 'zChannels 8', '16');
  await check({ patchNums: [1, 2, 4] }, 'patchNums 1_2_3', '1_2_4', 'patchNums: [1,2,3]');
  const vqvae = await VQVAE.init(engine, SMALL_VQVAE);
  await refused(VAR.load(engine, path, { vqvae, config: { depth: 16 } }), 'depth 16', 'depth 2');
  await refused(VAR.load(engine, path, { vqvae, preset: 'd16' }), 'depth 16', 'depth 2');
  await refused(VAR.load(engine, path, { vqvae, preset: 'd17' as never }), 'd17', 'd16, d20, d24, d30, d36-s');
  await refused(VAR.init(engine, { vqvae, preset: 'd16' }), 'vocabSize 4096', '32', 'var_d16.pth', 'vae_ch160v4096z32.pth', '256 x 256');
  await refused(VAR.init(engine, { vqvae, preset: 'd36-s' }), 'var_d36.pth', '512 x 512', '1_2_3_4_6_9_13_18_24_32');
  vqvae.dispose();
});

test('presets are the released models', () => {
  assert.equal(
    Object.entries(VAR_PRESETS).map(([name, p]) => [name, p.depth, p.file, p.patchNums.reduce((n, pn) => n + pn * pn, 0), p.sharedAln]),
    [
      ['d16', 16, 'var_d16.pth', 680, false],
      ['d20', 20, 'var_d20.pth', 680, false],
      ['d24', 24, 'var_d24.pth', 680, false],
      ['d30', 30, 'var_d30.pth', 680, false],
      ['d36-s', 36, 'var_d36.pth', 2240, true],
    ],
  );
  const count = (name: keyof typeof VAR_PRESETS) =>
    new VarModel(presetConfig(name)).parameters().reduce((n, s) => n + (s.optional ? 0 : s.shape.reduce((a, b) => a * b, 1)), 0) / 1e6;
  // Millions of parameters as published.
  for (const [name, millions] of [
    ['d16', 310],
    ['d20', 600],
    ['d24', 1000],
    ['d30', 2000],
    ['d36-s', 2300],
  ] as const)
    assert.ok(Math.abs(count(name) / millions - 1) < 0.04, `${name}: ${count(name)} million parameters`);
});

test('bad configurations name the field, what was given and what is accepted', async () => {
  assert.throws(() => vqvaeConfig({ ch: 33 }), /ch: must be a multiple of normGroups, given 33/);
  assert.throws(() => vqvaeConfig({ patchNums: [3] }), /patchNums/);
  assert.throws(() => vqvaeConfig({ vocab: 3 } as never), /vocab/);
  assert.throws(() => varConfig({ embedDim: 100, numHeads: 3 }), /multiple of numHeads/);
  assert.throws(() => varConfig({ depth: 1.5 }), /depth/);
  await refused(VQVAE.init(engine, { ...SMALL_VQVAE, zChannels: 0 }), 'zChannels', '0');
  const path = await save('asked.safetensors', await state(vqvaeModel(), 1));
  await refused(VQVAE.load(engine, path, { ch: 160 }), 'ch 160', '32');
});

test('phi index: ticks as numpy.linspace has them', () => {
  assert.equal(
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((si) => phiIndex(4, si, 10)),
    [0, 0, 1, 1, 1, 2, 2, 3, 3, 3],
  );
  assert.is(phiIndex(1, 3, 4), 0);
});

test('random weights follow the distributions of the reference', async () => {
  const config = varConfig({ ...SHAPE, depth: 2, embedDim: 128, numHeads: 2, numClasses: 50 });
  const source = new InitSource(new VarModel(config).parameters(), 7);
  const moments = async (key: string, from = 0, to?: number) => {
    using tensor = source.load(engine, key);
    const list = [...((await tensor.read()) as Float32Array)].slice(from, to);
    const mean = list.reduce((a, b) => a + b, 0) / list.length;
    return { mean, std: Math.sqrt(list.reduce((a, b) => a + (b - mean) ** 2, 0) / list.length), n: list.length };
  };
  const auto = Math.sqrt(1 / 128 / 3);
  const close = async (key: string, std: number, from?: number, to?: number) => {
    const got = await moments(key, from, to);
    assert.ok(Math.abs(got.std / std - 1) < 5 / Math.sqrt(got.n), `${key}: std ${got.std}, expected ${std}`);
    assert.ok(Math.abs(got.mean) < (5 * std) / Math.sqrt(got.n), `${key}: mean ${got.mean}`);
  };
  await close('blocks.0.attn.mat_qkv.weight', auto);
  await close('blocks.1.attn.proj.weight', auto / 2);
  await close('blocks.1.ffn.fc2.weight', auto / 2);
  await close('blocks.0.ada_lin.1.weight', auto * 1e-5, 0, 2 * 128 * 128);
  await close('blocks.0.ada_lin.1.weight', auto * 0.5, 2 * 128 * 128);
  await close('head.weight', auto * 0.02);
  await close('head_nm.ada_lin.1.weight', auto * 0.5);
  await close('pos_1LC', auto);
  assert.equal(await moments('head.bias'), { mean: 0, std: 0, n: 32 });
  assert.ok(Math.abs((await moments('blocks.0.attn.scale_mul_1H11')).mean - Math.log(4)) < 1e-6);
  const conv = new InitSource(vqvaeModel().parameters(), 7);
  using weight = conv.load(engine, 'encoder.down.1.block.0.conv1.weight');
  const values = (await weight.read()) as Float32Array;
  const bound = 1 / Math.sqrt(32 * 9);
  assert.ok(values.every((v) => Math.abs(v) <= bound) && values.some((v) => v > 0.99 * bound) && values.some((v) => v < -0.99 * bound));
});

test.run();
