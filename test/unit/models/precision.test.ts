// Models in f16 and bf16 against themselves in f32: how far activations and images may drift, which tokens stay, what is held in 16 bits.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type Tensor, VAR, VQVAE } from '../../../ts/index.js';
import { cacheBytes, presetConfig, VarModel } from '../../../ts/models/var/index.js';
import { VqvaeModel } from '../../../ts/models/vqvae/index.js';
import { InitSource, Parameters, type Precision, WeightReader } from '../../../ts/nn/index.js';
import { liveBytes, refused, SMALL_VAR, SMALL_VQVAE, tokensOf } from '../sample/kit.js';

const test = suite('precision');
const bundled = (name: string): string => fileURLToPath(new URL(`../../../models/clothing64/${name}`, import.meta.url));
const NARROW = ['f16', 'bf16'] as const;
let engine: Engine;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
});
test.after(async () => {
  await engine.close();
});

/** Half an ulp, relative: the most that one rounding changes. Uniform within it, the error has this value over sqrt(3) as its root mean square. */
const HALF_ULP = { f16: 2 ** -11, bf16: 2 ** -8 };

/**
 * Root mean square error, relative, of a chain of n layers that each round their output and their weights: 2 n independent errors whose
 * squares add up. Norms keep the size of what passes and the paths around the branches only dilute the error, so that no layer enlarges it.
 */
const bound = (layers: number, precision: 'f16' | 'bf16'): number => (Math.sqrt(2 * layers) * HALF_ULP[precision]) / Math.sqrt(3);

const rms = (x: ArrayLike<number>, y?: ArrayLike<number>): number => {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += ((x[i] as number) - (y ? (y[i] as number) : 0)) ** 2;
  return Math.sqrt(sum / x.length);
};

const models = async (precision: Precision) => {
  const vqvae = await VQVAE.load(engine, bundled('vae.safetensors'), { precision, encoder: 'eager' });
  const model = await VAR.load(engine, bundled('var.safetensors'), { vqvae, precision });
  const dispose = () => {
    model.dispose();
    vqvae.dispose();
  };
  return { vqvae, model, [Symbol.dispose]: dispose };
};

/** Bytes of noise in colours that change slowly, so that the pictures have structure. */
function picture(side: number): Uint8Array {
  return Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [c, x, y] = [i % 3, Math.floor(i / 3) % side, Math.floor(i / 3 / side)];
    return 128 + 60 * Math.sin(x / 9 + c) + 60 * Math.cos(y / 7 - c);
  });
}

async function read(tensor: Tensor): Promise<Float32Array> {
  using owned = tensor;
  assert.is(owned.dtype, 'f32');
  return (await owned.read()) as Float32Array;
}

// Convolutions, norms and attentions in a line: conv_in, 3 blocks in the middle, 2 blocks on each of 4 levels, 3 upsamplings, norm_out.
const DECODER = 1 + (4 + 4 + 4) + 4 * 2 * 4 + 2 * 4 + 3 + 1;
// Per block: norm, qkv, attention, projection; norm, fc1, fc2; then norm and head.
const transformer = (depth: number): number => 7 * depth + 2;

for (const precision of NARROW) {
  test(`${precision}: decoder, encoder and transformer stay within what their roundings explain`, async () => {
    using wide = await models('f32');
    using narrow = await models(precision);
    const { config } = wide.model;
    const side = wide.vqvae.resolution;
    const img = engine.scope(() => engine.ops.imageToUnit(engine.tensor(picture(side), [1, side, side, 3], 'u8')));
    const f = await wide.vqvae.encode(img);
    const idx = await wide.vqvae.imgToIdxBl(img);
    const words = wide.vqvae.idxBlToVarInput(idx)!;
    const drift = async (name: string, a: Tensor, b: Tensor, layers: number) => {
      const [want, got] = [await read(a), await read(b)];
      const error = rms(got, want) / rms(want);
      assert.ok(error <= bound(layers, precision), `${name}: ${error.toExponential(2)} of ${bound(layers, precision).toExponential(2)}`);
      assert.ok(error >= HALF_ULP[precision] / 16, `${name}: ${error.toExponential(2)} is less than 16 bits give`);
    };
    const g = engine;
    await drift('decoder', wide.vqvae.model.decode(g, f), narrow.vqvae.model.decode(g, f), DECODER);
    await drift('encoder', wide.vqvae.model.encode(g, img), narrow.vqvae.model.encode(g, img), DECODER);
    await drift('transformer', wide.model.forward([2], words), narrow.model.forward([2], words), transformer(config.depth));
    // The quantizer computes in f32: the same features are the same tokens.
    const [one, other] = [wide, narrow].map(({ vqvae }) => vqvae.model.quantize.fToScales(g, f, false));
    for (const [si, tokens] of one!.idxBl.entries()) assert.equal(await other!.idxBl[si]!.read(), await tokens.read());
    for (const tensor of [img, f, words, ...idx, ...[one!, other!].flatMap((s) => [...s.idxBl, ...s.fHats])]) tensor.dispose();
  });

  test(`${precision}: the same tokens are pictures that differ by a few grey levels at most`, async () => {
    using wide = await models('f32');
    using narrow = await models(precision);
    const made = await wide.model.generate({ labels: [0, 5], seed: 3 });
    const { images } = await narrow.vqvae.decode(made.tokens, { count: 2 });
    let most = 0;
    for (const [i, image] of images.entries())
      for (const [j, v] of image.data.entries()) most = Math.max(most, Math.abs(v - made.images[i]!.data[j]!));
    // Pixels of rms 0.5 in [-1, 1]: an error of 3 of its root mean squares is 3 * bound * 0.5 * 127.5 grey levels, plus one of rounding.
    assert.ok(most <= 1 + 3 * bound(DECODER, precision) * 0.5 * 127.5, `${most} grey levels`);
  });
}

test('the likeliest tokens of the first scales do not depend on the precision', async () => {
  const call = { labels: [0, 3, 7], topK: 1, topP: 0, seed: 1 };
  using wide = await models('f32');
  const want = await wide.model.generate(call);
  for (const precision of NARROW) {
    using narrow = await models(precision);
    const got = await narrow.model.generate(call);
    assert.equal(tokensOf(got.tokens.slice(0, 2)), tokensOf(want.tokens.slice(0, 2)), precision);
    if (precision === 'f16') assert.equal(tokensOf(got.tokens.slice(0, 5)), tokensOf(want.tokens.slice(0, 5)), precision);
  }
});

test('in 16 bits the same seed is the same image, alone and in a batch', async () => {
  using narrow = await models('bf16');
  const alone = await narrow.model.generate({ labels: [4], seed: [8] });
  const batch = await narrow.model.generate({ labels: [1, 4], seed: [7, 8] });
  assert.equal(batch.images[1]!.data, alone.images[0]!.data);
});

test('weights and caches take half the memory; dtype keeps the weights as they are asked for', async () => {
  const held = async (options: object): Promise<number> => {
    const before = await liveBytes(engine);
    const vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, patchNums: [1, 2, 3] });
    const start = await liveBytes(engine);
    const model = await VAR.init(engine, { ...SMALL_VAR, vqvae, ...options });
    const bytes = (await liveBytes(engine)) - start;
    model.dispose();
    vqvae.dispose();
    assert.is(await liveBytes(engine), before);
    return bytes;
  };
  const [f32, bf16, wide] = [await held({}), await held({ precision: 'bf16' }), await held({ precision: 'bf16', dtype: 'f32' })];
  assert.is(wide, f32);
  assert.ok(bf16 < 0.65 * f32, `${bf16} of ${f32} bytes`);
  assert.is(await held({ precision: 'f16', dtype: 'f16' }), await held({ dtype: 'f16' }));

  using model = await models('f16');
  const caches = model.model.model.caches(engine, 4);
  assert.ok(caches.every(({ k, v }) => k.dtype === 'f16' && v.dtype === 'f16'));
  const bytes = caches.reduce((sum, { k, v }) => sum + 2 * (k.size + v.size), 0);
  assert.is(bytes, cacheBytes(model.model.config, 2, 'f16'));
  for (const { k, v } of caches) for (const t of [k, v]) t.dispose();
});

test('VAR-d30 keeps the keys and values of an image of 680 tokens in 186.3 MiB of f16', () => {
  const config = presetConfig('d30');
  assert.is(
    config.patchNums.reduce((sum, pn) => sum + pn * pn, 0),
    680,
  );
  // 2 rows (guidance) x 30 blocks x keys and values x (680 - 256) tokens x 1920 x 2 bytes
  assert.is(cacheBytes(config, 1, 'f16'), 2 * 30 * 2 * 424 * 1920 * 2);
  assert.ok(cacheBytes(config, 1, 'f16') <= 190 * 2 ** 20);
  assert.is(cacheBytes(config, 1, 'f32'), 2 * cacheBytes(config, 1, 'bf16'));
});

test('bound with a precision a model computes what it computes loaded with it', async () => {
  const source = (model: VarModel | VqvaeModel) => new InitSource(model.parameters(), 4);
  const small = await VQVAE.init(engine, { ...SMALL_VQVAE, seed: 1 });
  const config = (await VAR.init(engine, { ...SMALL_VAR, vqvae: small })).config;
  const build = () => [new VarModel(config, SMALL_VAR), new VqvaeModel(small.config)] as const;
  const x = engine.ops.random({ shape: [2, 13, 8], kind: 'normal' });
  const f = engine.ops.random({ shape: [1, 3, 3, 8], kind: 'normal' });
  const results: Float32Array[][] = [];
  for (const how of ['load', 'bind', 'plain'] as const) {
    const [transformer, vqvae] = build();
    for (const model of [transformer, vqvae]) {
      if (how === 'load') await model.load(new WeightReader(engine, source(model), { precision: 'bf16' }));
      else {
        const params = await Parameters.create(engine, model.parameters(), source(model), { grads: false });
        params.bind(engine, model, { precision: 'bf16' });
        // Bound again without a word it is f32 again.
        if (how === 'plain') params.bind(engine, model);
      }
    }
    results.push([await read(transformer.forward(engine, Int32Array.of(1, 2), x)), await read(vqvae.decode(engine, f))]);
  }
  assert.equal(results[1], results[0]);
  for (const [i, plain] of results[2]!.entries()) assert.not.equal(plain, results[0]![i]);
});

test('what is no precision is refused', async () => {
  // biome-ignore lint/suspicious/noExplicitAny: a wrong value on purpose
  const wrong = { precision: 'fp8' } as any;
  await refused(() => VQVAE.init(engine, { ...SMALL_VQVAE, ...wrong }), 'precision', '"fp8"', 'f32, f16, bf16');
  await refused(() => VQVAE.load(engine, bundled('vae.safetensors'), { dtype: 'i32' as never }), 'dtype', 'f32, f16, bf16');
  const vqvae = await VQVAE.init(engine, SMALL_VQVAE);
  await refused(() => VAR.init(engine, { ...SMALL_VAR, vqvae, ...wrong }), 'precision', '"fp8"');
  vqvae.dispose();
});

test.run();
