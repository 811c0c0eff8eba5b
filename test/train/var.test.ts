// VAR training on an engine: what it learns, and what must not change it.
// driver: timeout=240
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, openCheckpoint, writePth } from '../../ts/index.js';
import { decodeState, encodeState } from '../../ts/train/saved.js';
import type { VarTask } from '../../ts/train/var/index.js';
import { temporaryFolder } from '../unit/checkpoint/temporary.js';
import { distance, snapshot } from '../unit/optim/kit.js';
import { dispose, imageBatch, infoAt, iterate, LENGTH, makeStepper, makeTask, part, RESO, tokenBatch, VOCAB } from './var-kit.js';

const test = suite('VAR training');
const folder = temporaryFolder();
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

async function gradients(task: VarTask): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const name of task.params.names) all.set(name, (await task.params.grad(name).read()) as Float32Array);
  return all;
}

const largest = (grads: ReadonlyMap<string, Float32Array>) =>
  Math.max(...[...grads.values()].map((list) => list.reduce((a, b) => Math.max(a, Math.abs(b)), 0)));

async function* once<T>(...items: T[]): AsyncIterable<T> {
  yield* items;
}

test('one batch of tokens is learnt by heart: accuracy above 99 %', async () => {
  const task = await makeTask(engine, { config: { depth: 2, embedDim: 64, numHeads: 2, numClasses: 5, condDropRate: 0 } });
  const stepper = makeStepper(task);
  const random = tokenBatch(8);
  // each image a class of its own: nothing else tells the first tokens apart
  const batch = { ...part(random, 0, 5), labels: Int32Array.of(0, 1, 2, 3, 4) };
  const first = await iterate(task, stepper, batch, 0);
  assert.ok(Math.abs(first.loss - Math.log(VOCAB)) < 0.3, `a fresh model knows nothing: ${first.loss}`);
  let last = first;
  for (let gIt = 1; gIt < 150; gIt++) last = await iterate(task, stepper, batch, gIt);
  assert.ok(last.metrics.Accm! > 99 && last.metrics.Acct! > 99, JSON.stringify(last.metrics));
  const seen = await task.evaluate(once(part(batch, 0, 3), part(batch, 3, 5)));
  assert.ok(seen.vacc_mean! > 99 && Math.abs(seen.vL_mean! - last.metrics.Lm!) < 0.05, JSON.stringify(seen));
  const wrong = await task.evaluate(once({ ...batch, labels: Int32Array.of(1, 2, 3, 4, 0) }));
  assert.ok(wrong.vacc_mean! < 90, 'the label matters');
  dispose(task, stepper);
});

test('two halves accumulated are one whole, and the scale of the loss is that of the gradients', async () => {
  const task = await makeTask(engine, { labelSmooth: 0.1 });
  const batch = tokenBatch(6);
  const whole = await task.step(batch, infoAt(0));
  const want = await gradients(task);
  task.params.zeroGrads();
  const halves = [
    await task.step(part(batch, 0, 3), infoAt(1, { lossScale: 0.5 })),
    await task.step(part(batch, 3, 6), infoAt(2, { lossScale: 0.5 })),
  ];
  const got = await gradients(task);
  assert.ok(distance(got, want) < 1e-6 * Math.max(1, largest(want)), `${distance(got, want)} of ${largest(want)}`);
  assert.ok(Math.abs((halves[0]!.loss + halves[1]!.loss) / 2 - whole.loss) < 1e-6);
  task.params.zeroGrads();
  await task.step(batch, infoAt(3, { lossScale: 1024 }));
  const scaled = await gradients(task);
  assert.ok(distance(new Map([...scaled].map(([name, list]) => [name, list.map((x) => x / 1024)])), want) < 1e-6 * largest(want));
  dispose(task);
});

test('gradient checkpointing gives the same bits', async () => {
  const grads = [];
  for (const checkpointing of [false, true]) {
    const task = await makeTask(engine, { checkpointing, dropPathRate: 0.3, config: { condDropRate: 0.5, depth: 3 } });
    await task.step(tokenBatch(4), infoAt(5));
    grads.push(await gradients(task));
    dispose(task);
  }
  assert.ok(largest(grads[0]!) > 0);
  assert.is(distance(grads[0]!, grads[1]!), 0);
});

test('a step that fails late, or is aborted, leaves a task that can go on', async () => {
  const task = await makeTask(engine);
  const batch = tokenBatch(4);
  await task.step(batch, infoAt(0));
  const want = await gradients(task);
  const outside = { ...batch, tokens: batch.tokens.with(3, VOCAB) };
  await task.step(outside, infoAt(1)).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /idx.2. is 32/),
  );
  const controller = new AbortController();
  const aborted = task.step(batch, infoAt(2, { signal: controller.signal }));
  setImmediate(() => controller.abort());
  await aborted.then(
    () => assert.unreachable(),
    (error: Error) => assert.is(error.name, 'AbortError'),
  );
  task.params.zeroGrads();
  await task.step(batch, infoAt(0));
  assert.is(distance(await gradients(task), want), 0);
  dispose(task);
});

test('images give the gradients of their tokens', async () => {
  const task = await makeTask(engine);
  const images = imageBatch(3);
  const { loss } = await task.step(images, infoAt(0));
  const want = await gradients(task);
  task.params.zeroGrads();
  const tokens = await task.tokenize(images);
  assert.is(tokens.length, 3 * LENGTH);
  const { labels, indices } = images;
  assert.is((await task.step({ kind: 'tokens', tokens, labels, indices }, infoAt(0))).loss, loss);
  assert.is(distance(await gradients(task), want), 0);
  dispose(task);
});

test('dropped labels and branches depend on seed, iteration and image, and change the gradient', async () => {
  const losses = [];
  for (const [seed, gIt, order] of [
    [1, 0, 0],
    [1, 0, 1],
    [1, 1, 0],
    [2, 0, 0],
  ] as const) {
    const task = await makeTask(engine, { seed, dropPathRate: 0.5, config: { condDropRate: 0.5 } });
    await task.params.load((await makeSource()).source);
    const batch = tokenBatch(4);
    const used = order === 0 ? batch : reversed(batch);
    losses.push((await task.step(used, infoAt(gIt))).loss);
    dispose(task);
  }
  assert.ok(Math.abs(losses[0]! - losses[1]!) < 1e-6, 'the place in the batch does not matter');
  assert.is(new Set(losses.map((loss) => loss.toFixed(4))).size, 3, losses.join(' '));
});

/** Weights with open gates and a strong head, so that every choice shows. */
async function makeSource() {
  const { VarModel, varConfig } = await import('../../ts/models/var/index.js');
  const { InitSource } = await import('../../ts/nn/index.js');
  const config = varConfig({ depth: 2, embedDim: 64, numHeads: 2, numClasses: 5, patchNums: [1, 2, 3], vocabSize: VOCAB, zChannels: 8 });
  const specs = new VarModel(config, { initAdalnGamma: 1, initHead: 5, initStd: 0.2 }).parameters();
  return { source: new InitSource(specs, 3) };
}

function reversed(batch: ReturnType<typeof tokenBatch>): ReturnType<typeof tokenBatch> {
  const order = [...batch.labels.keys()].reverse();
  return {
    kind: 'tokens',
    tokens: Int32Array.from(order.flatMap((i) => [...batch.tokens.slice(i * LENGTH, (i + 1) * LENGTH)])),
    labels: Int32Array.from(order, (i) => batch.labels[i]!),
    indices: Int32Array.from(order, (i) => batch.indices[i]!),
  };
}

test('progressive training computes the scales of its stage only', async () => {
  const task = await makeTask(engine, { progressive: { pg: 0.5, pg0: 0, pgwp: 0.5, wp: 1 } });
  const first = await task.step(tokenBatch(2), infoAt(0, { detailed: true }));
  assert.equal([first.metrics.Lt, first.metrics.Acct], [-1, -1]);
  assert.equal(
    Object.keys(first.scalars!).filter((name) => name.includes('/L_')),
    ['AR_iter_loss/L_4'],
  );
  const grads = await gradients(task);
  assert.ok(grads.get('word_embed.weight')!.every((x) => x === 0) && grads.get('class_emb.weight')!.some((x) => x !== 0));
  const later = await task.step(tokenBatch(2), infoAt(60, { detailed: true }));
  assert.ok(later.metrics.Lt! > 0 && 'AR_iter_loss/L_12' in later.scalars!);
  assert.is(later.scalars!['AR_iter_schedule/prog_wp'], 0.2);
  assert.is(later.scalars!['AR_iter_schedule/prog_a_reso'], RESO);
  assert.is(later.histograms!['AR_iter_loss/ce_of_tokens']!.length, 2 * LENGTH);
  dispose(task);
});

test('a gradient that is not finite leaves everything as it is, and the loss tells', async () => {
  const task = await makeTask(engine);
  const stepper = makeStepper(task);
  await iterate(task, stepper, tokenBatch(2), 0);
  const place = engine.view(task.params.get('blocks.1.ffn.fc1.bias'), 0, [1]);
  engine.ops.writeSlice(place, engine.tensor(Float32Array.of(Number.NaN), [1]), { axis: 0, start: 0 });
  place.dispose();
  const before = await snapshot(task.params);
  const result = await iterate(task, stepper, tokenBatch(2), 1);
  assert.ok(Number.isNaN(result.loss));
  assert.ok(result.skipped && result.nonFinite > 0 && result.firstBad !== null);
  const after = await snapshot(task.params);
  for (const [name, values] of before)
    assert.ok(
      values.every((x, i) => Object.is(x, after.get(name)![i])),
      name,
    );
  assert.is(stepper.optimizer.steps, 1);
  dispose(task, stepper);
});

test('written, read and continued, a run gives the same bits', async () => {
  const options = { dropPathRate: 0.2, config: { condDropRate: 0.2 }, progressive: { pg: 0.3, pg0: 1, pgwp: 0.5, wp: 0.1 } };
  const task = await makeTask(engine, options);
  const stepper = makeStepper(task);
  for (let gIt = 0; gIt < 4; gIt++) await iterate(task, stepper, tokenBatch(3, gIt), gIt);
  const path = join(folder, 'run.pth');
  await writePth(path, encodeState({ trainer: { ...(await task.state()), var_opt: stepper.state() } }));
  const want = [];
  for (let gIt = 4; gIt < 30; gIt += 3) want.push((await iterate(task, stepper, tokenBatch(3, gIt), gIt)).loss);
  const other = await makeTask(engine, { ...options, seed: 0 });
  const again = makeStepper(other);
  await iterate(other, again, tokenBatch(3, 99), 0);
  const file = await openCheckpoint(path, { root: '' });
  const { trainer } = decodeState(file) as { trainer: Record<string, unknown> };
  await other.restore(trainer);
  await again.restore(trainer.var_opt);
  file.close();
  const got = [];
  for (let gIt = 4; gIt < 30; gIt += 3) got.push((await iterate(other, again, tokenBatch(3, gIt), gIt)).loss);
  assert.equal(got, want);
  assert.is(distance(await snapshot(other.params), await snapshot(task.params)), 0);
  const names = [...(await openCheckpoint(path, { root: 'trainer.var_wo_ddp' })).keys()];
  assert.ok(names.includes('lvl_1L') && names.includes('attn_bias_for_masking') && names.includes('blocks.0.attn.zero_k_bias'));
  dispose(task, stepper);
  dispose(other, again);
});

test('a checkpoint of another label smoothing is refused', async () => {
  const task = await makeTask(engine);
  const state = await task.state();
  const other = await makeTask(engine, { labelSmooth: 0.1 });
  await other.restore(state).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /label_smooth 0, this run has 0.1/),
  );
  dispose(task);
  dispose(other);
});

test('a checkpoint of another VQVAE is refused', async () => {
  const task = await makeTask(engine);
  const path = join(folder, 'tokenizer.pth');
  await writePth(path, encodeState(await task.state()));
  const other = await makeTask(engine, {}, 8);
  const file = await openCheckpoint(path, { root: '' });
  await other.checkFrozen(decodeState(file)).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /made with another VQVAE than this run has: .*weight differs/),
  );
  await task.checkFrozen(decodeState(file));
  file.close();
  dispose(task);
  dispose(other);
});

test('pictures of the log: a grid, a row per class, the same each time', async () => {
  const task = await makeTask(engine);
  const [one] = await task.images();
  assert.equal([one!.width, one!.height], [2 * (RESO + 2) + 2, 2 * (RESO + 2) + 2]);
  assert.equal((await task.images())[0]!.data, one!.data);
  const none = await makeTask(engine, { samples: { classes: 0 } });
  assert.equal(await none.images(), []);
  dispose(task);
  dispose(none);
});

test('steps, evaluation and pictures leave no tensors behind', async () => {
  const task = await makeTask(engine, { dropPathRate: 0.1, checkpointing: true });
  const stepper = makeStepper(task);
  const round = async () => {
    await iterate(task, stepper, imageBatch(2), 0);
    await task.evaluate(once(imageBatch(2)));
    await task.images();
    await task.state();
    await engine.flush();
    return engine.memory().tensors;
  };
  const first = await round();
  assert.is(await round(), first);
  assert.is(await round(), first);
  dispose(task, stepper);
});

test('an epoch ends with the use of the vocabulary and starts from zero', async () => {
  const task = await makeTask(engine);
  for (let gIt = 0; gIt < 2; gIt++) await task.step(tokenBatch(2, gIt), infoAt(gIt));
  const { metrics, warnings } = task.endEpoch();
  assert.ok(metrics['AR_ep_loss/z_voc_usage']! > 0);
  assert.equal(warnings, []);
  assert.equal(task.endEpoch().metrics, {});
  dispose(task);
});

test.run();
