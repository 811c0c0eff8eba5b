// Linear weights stored as int8: how far logits drift from those of f32, what is held, where it is refused.
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { createEngine, type Engine, VAR, VQVAE } from '../../../ts/index.js';
import { liveBytes, refused, SMALL_VQVAE } from '../sample/kit.js';

const test = suite('int8 weights');
const bundled = (name: string): string => fileURLToPath(new URL(`../../../models/clothing64/${name}`, import.meta.url));
let engine: Engine;

test.before(async () => {
  engine = await createEngine({ threads: 2 });
});
test.after(async () => {
  await engine.close();
});

const rms = (x: Float32Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length);

/** Root mean square and largest error of logits, relative to the root mean square of the logits themselves. */
function errors(got: Float32Array, want: Float32Array): { mean: number; most: number } {
  const difference = got.map((v, i) => v - want[i]!);
  return { mean: rms(difference) / rms(want), most: difference.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / rms(want) };
}

test('logits of the bundled model stay within a few percent of f32, and its linear weights take a quarter', async () => {
  await using vqvae = await VQVAE.load(engine, bundled('vae.safetensors'));
  const start = await liveBytes(engine);
  const wide = await VAR.load(engine, bundled('var.safetensors'), { vqvae });
  const full = (await liveBytes(engine)) - start;
  const narrow = await VAR.load(engine, bundled('var.safetensors'), { vqvae, dtype: 'int8' });
  const quarter = (await liveBytes(engine)) - start - full;
  assert.ok(quarter < 0.4 * full, `${quarter} of ${full} bytes`);
  const labels = [0, 3, 7];
  const { tokens } = await wide.generate({ labels, seed: 5 });
  const x = vqvae.model.idxBlToVarInput(
    engine,
    tokens.map((map, si) => engine.tensor(map, [labels.length, vqvae.config.patchNums[si]! ** 2])),
  );
  const logits = (model: VAR) => model.forward(labels, x).read() as Promise<Float32Array>;
  const { mean, most } = errors(await logits(narrow), await logits(wide));
  // Rounding to 1 / 127 of the largest weight of a row: 0.4 % of the row's largest, about 1 % of its root mean square, per layer.
  assert.ok(mean > 1e-5 && mean < 0.05, `mean error ${mean}`);
  assert.ok(most < 0.5, `largest error ${most}`);
  const [one, again] = [await narrow.generate({ labels: [1], seed: 2 }), await narrow.generate({ labels: [1], seed: 2 })];
  assert.equal(one.tokens, again.tokens);
  for (const model of [wide, narrow]) model.dispose();
});

test('a VQVAE and training refuse it', async () => {
  await refused(VQVAE.init(engine, { ...SMALL_VQVAE, dtype: 'int8' }), 'dtype', '"int8"', 'f32, f16, bf16');
  const { ops } = engine;
  const w = ops.fill({ shape: [16, 8], value: 1 });
  const x = ops.fill({ shape: [1, 2, 8], value: 1 });
  using tape = new Tape(engine);
  tape.watch(w, ops.fill({ shape: [16, 8] }));
  assert.throws(
    () => tape.run(() => tape.ops.linear(x, tape.ops.linearPack(w, { dtype: 'u8' }), { n: 16 })),
    /int8 weights have no gradient/,
  );
});

test.run();
