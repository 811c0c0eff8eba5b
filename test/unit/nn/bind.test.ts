// Modules bound to tensors give what modules loaded from a source give, and keep nothing of an earlier binding.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { createEngine, type Engine, type Tensor } from '../../../ts/engine/index.js';
import { VarModel, varConfig } from '../../../ts/models/var/index.js';
import { VqvaeModel, vqvaeConfig } from '../../../ts/models/vqvae/index.js';
import { convAlgoOnce, InitSource, type Module, Parameters, WeightReader } from '../../../ts/nn/index.js';

const bind = suite('bind');
let engine: Engine;

bind.before.each(async () => {
  engine = await createEngine({ threads: 1 });
});
bind.after.each(async () => {
  await engine.close();
});

const varOf = (attnL2Norm: boolean, sharedAln: boolean) =>
  new VarModel(
    varConfig({
      numClasses: 3,
      depth: 2,
      embedDim: 32,
      numHeads: 2,
      patchNums: [1, 2],
      vocabSize: 16,
      zChannels: 8,
      attnL2Norm,
      sharedAln,
    }),
    { initHead: 1, initAdalnGamma: 0.5 },
  );

const paramsOf = (model: Module, seed = 1) =>
  Parameters.create(engine, model.parameters(), new InitSource(model.parameters(), seed), { grads: false });

async function logits(model: VarModel): Promise<Float32Array> {
  using x = engine.ops.random({ shape: [2, 4, 8], kind: 'normal' });
  using y = model.forward(engine, Int32Array.of(0, 3), x);
  return (await y.read()) as Float32Array;
}

bind('a VAR computes the same bound as loaded', async () => {
  for (const [l2, shared] of [
    [true, false],
    [false, true],
  ] as const) {
    const [loaded, bound] = [varOf(l2, shared), varOf(l2, shared)];
    await loaded.load(new WeightReader(engine, new InitSource(loaded.parameters(), 1)));
    const params = await paramsOf(bound);
    params.bind(engine, bound);
    assert.equal(await logits(bound), await logits(loaded));
    for (const owner of [loaded, bound, params]) owner.dispose();
    assert.is(engine.memory().tensors, 0);
  }
});

bind('binding again replaces the weights and what was made of them', async () => {
  const model = varOf(true, true);
  const [one, two] = [await paramsOf(model), await paramsOf(model, 2)];
  one.bind(engine, model);
  const first = await logits(model);
  const { tensors } = engine.memory();
  two.bind(engine, model);
  assert.is(engine.memory().tensors, tensors);
  assert.not.equal(await logits(model), first);
  one.bind(engine, model);
  assert.equal(await logits(model), first);
  for (const owner of [model, one, two]) owner.dispose();
  assert.is(engine.memory().tensors, 0);
});

bind('loading again, and binding after loading in f16', async () => {
  const model = varOf(true, false);
  const reader = (dtype: 'f32' | 'f16') => new WeightReader(engine, new InitSource(model.parameters(), 1), { dtype });
  await model.load(reader('f32'));
  const wide = await logits(model);
  const { tensors } = engine.memory();
  await model.load(reader('f16'));
  assert.is(engine.memory().tensors, tensors);
  assert.not.equal(await logits(model), wide);
  const params = await paramsOf(model);
  params.bind(engine, model);
  assert.equal(await logits(model), wide);
  for (const owner of [model, params]) owner.dispose();
  assert.is(engine.memory().tensors, 0);
});

bind('a VQVAE computes the same bound as loaded', async () => {
  const make = () =>
    new VqvaeModel(vqvaeConfig({ ch: 32, chMult: [1, 1], numResBlocks: 1, zChannels: 8, vocabSize: 16, patchNums: [1, 2, 4] }));
  const [loaded, bound] = [make(), make()];
  const weights = new WeightReader(engine, new InitSource(loaded.parameters(), 1));
  await loaded.loadDecoding(weights);
  await loaded.loadEncoding(weights);
  const params = await paramsOf(bound);
  params.bind(engine, bound);
  const results: Float32Array[] = [];
  for (const model of [loaded, bound]) {
    using x = engine.ops.random({ shape: [1, 8, 8, 3], kind: 'uniform', mean: -1, std: 1 });
    const maps = engine.scope((): Tensor => model.fHatToImg(engine, model.imgToFhat(engine, x).at(-1)!));
    results.push((await maps.read()) as Float32Array);
    maps.dispose();
  }
  assert.equal(results[1], results[0]);
  for (const owner of [loaded, bound, params]) owner.dispose();
  assert.is(engine.memory().tensors, 0);
});

bind('what is not trained is marked', () => {
  const buffers = (model: Module) => model.parameters().flatMap(({ name, buffer }) => (buffer ? name : []));
  assert.equal(buffers(varOf(true, true)), ['lvl_1L', 'attn_bias_for_masking', 'blocks.0.attn.zero_k_bias', 'blocks.1.attn.zero_k_bias']);
  assert.equal(buffers(new VqvaeModel(vqvaeConfig())), ['quantize.ema_vocab_hit_SV']);
});

bind('packs made for one product give the same bits as packs that are kept, and are gone after it', async () => {
  const x = engine.ops.random({ shape: [2, 4, 8], kind: 'normal' });
  const step = async (packOnUse: boolean, checkpoint: boolean) => {
    const model = varOf(true, false);
    const params = await Parameters.create(engine, model.parameters(), new InitSource(model.parameters(), 1));
    const tape = new Tape(engine);
    await engine.flush();
    const before = engine.memory().liveBytes;
    tape.run(() => params.bind(tape, model, { packOnUse }));
    await engine.flush();
    const bound = engine.memory().liveBytes - before;
    const loss = tape.run(() => {
      const y = model.forward(tape, Int32Array.of(0, 3), x, { checkpoint });
      return tape.ops.reduce(tape.ops.reshape(y, { shape: [1, y.size] }), { fn: 'mean' });
    });
    await tape.backward(loss);
    const grads = await params.grads.read();
    tape.close();
    for (const owner of [model, params]) owner.dispose();
    return { bound, grads };
  };
  const kept = await step(false, false);
  for (const checkpoint of [false, true]) {
    const used = await step(true, checkpoint);
    assert.equal(used.grads, kept.grads);
    assert.ok(used.bound < 0.2 * kept.bound, `${used.bound} of ${kept.bound} bytes stay bound`);
  }
});

bind('a transform that is made for one use is chosen by the number of pixels', () => {
  assert.equal(
    [16, 95, 96, 4096].map((n) => convAlgoOnce('winograd2', n)),
    ['direct', 'direct', 'winograd2', 'winograd2'],
  );
  assert.equal(
    [16, 256, 512].map((n) => convAlgoOnce('winograd4', n)),
    ['direct', 'winograd2', 'winograd4'],
  );
  assert.is(convAlgoOnce('direct', 1 << 20), 'direct');
});

bind.run();
