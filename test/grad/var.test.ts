// driver: timeout=300
// Training passes of a small VAR: the same bits with checkpoints, threads and repetition; stochastic depth; nothing leaks.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../ts/autograd/index.js';
import { createEngine, type Engine, type Tensor } from '../../ts/engine/index.js';
import { type ForwardOptions, VarModel, varConfig } from '../../ts/models/var/index.js';
import { InitSource, Parameters } from '../../ts/nn/index.js';
import { Draw } from '../parity/draw.js';

const passes = suite('var passes');

const config = varConfig({
  numClasses: 5,
  depth: 3,
  embedDim: 64,
  numHeads: 2,
  sharedAln: true,
  patchNums: [1, 2, 3],
  vocabSize: 32,
  zChannels: 8,
});
const LABELS = Int32Array.of(4, 0, 5);
const BATCH = LABELS.length;

interface Setup {
  readonly engine: Engine;
  readonly model: VarModel;
  readonly params: Parameters;
  readonly x: Tensor;
  readonly target: Tensor;
}

async function setup(threads: number): Promise<Setup> {
  const engine = await createEngine({ threads });
  // Gates that start at almost zero would hide the blocks.
  const model = new VarModel(config, { initAdalnGamma: 0.5, initHead: 1 });
  const params = await Parameters.create(engine, model.parameters(), new InitSource(model.parameters(), 3));
  const draw = new Draw('var', 1);
  const l = model.length;
  const x = engine.tensor(
    Float32Array.from({ length: BATCH * (l - 1) * 8 }, () => draw.between(-1, 1)),
    [BATCH, l - 1, 8],
  );
  const target = engine.tensor(
    Int32Array.from({ length: BATCH * l }, () => draw.int(0, 32)),
    [BATCH, l],
  );
  return { engine, model, params, x, target };
}

async function step(s: Setup, options: ForwardOptions = {}): Promise<{ logits: Float32Array; loss: number; grads: Float32Array }> {
  const { params, model } = s;
  params.zeroGrads();
  using tape = new Tape(s.engine);
  const { logits, loss } = tape.run(() => {
    params.bind(tape, model);
    const logits = model.forward(tape, LABELS, s.x, options);
    const each = tape.ops.crossEntropy(logits, s.target);
    return { logits, loss: tape.ops.affine(tape.ops.sumTo(each, { shape: [1] }), { mul: 1 / each.size }) };
  });
  const read = Promise.all([logits.read(), loss.read()]);
  await tape.backward(loss);
  const [values, [value]] = (await read) as [Float32Array, Float32Array];
  return { logits: values, loss: value!, grads: (await params.grads.read()) as Float32Array };
}

async function close({ engine, model, params, x, target }: Setup): Promise<void> {
  model.dispose();
  params.dispose();
  for (const tensor of [x, target]) tensor.dispose();
  assert.is(engine.memory().tensors, 0, 'tensors are left');
  await engine.close();
}

const factors = (engine: Engine, rows: readonly number[]): Tensor =>
  engine.tensor(
    Float32Array.from({ length: BATCH * 6 }, (_, i) => (i % 6 < 2 ? rows[Math.floor(i / 6)]! : 1)),
    [BATCH, 6, 1],
  );

passes('checkpoints, threads and repetition change no bit', async () => {
  const [one, two] = [await setup(1), await setup(2)];
  const plain = await step(one);
  assert.ok(plain.loss > 1 && Number.isFinite(plain.loss));
  assert.ok(plain.grads.some((v) => v !== 0));
  for (const other of [await step(one), await step(one, { checkpoint: true }), await step(two), await step(two, { checkpoint: true })]) {
    assert.equal(other.logits, plain.logits);
    assert.equal(other.grads, plain.grads);
  }
  await close(one);
  await close(two);
});

passes('the loss falls along its gradient as the gradient says', async () => {
  const s = await setup(2);
  const { loss, grads } = await step(s);
  const norm2 = grads.reduce((sum, v) => sum + v * v, 0);
  const eps = 1e-3 / Math.sqrt(norm2);
  s.engine.ops.accumulate(s.params.values, s.params.grads, { alpha: -eps });
  const moved = await step(s);
  const expected = -eps * norm2;
  assert.ok(Math.abs((moved.loss - loss) / expected - 1) < 0.02, `${moved.loss - loss}, expected ${expected}`);
  await close(s);
});

passes('stochastic depth', async () => {
  const s = await setup(2);
  const { engine, params } = s;
  const plain = await step(s);
  const ones = factors(engine, [1, 1, 1]);
  const kept = await step(s, { dropPath: [ones, undefined, ones] });
  assert.equal(kept.logits, plain.logits);
  assert.equal(kept.grads, plain.grads);

  // Without any branch only the embeddings reach the head.
  const none = factors(engine, [0, 0, 0]);
  const dropped = await step(s, { dropPath: [none, none, none] });
  for (const name of params.names) {
    const grad = (await params.grad(name).read()) as Float32Array;
    const dead = /^blocks|^shared_ada_lin/.test(name);
    assert.is(
      grad.every((v) => v === 0),
      dead,
      name,
    );
  }
  assert.not.equal(dropped.logits, plain.logits);

  // An image whose branches are dropped has the logits of all dropped, the others keep theirs.
  const first = factors(engine, [0, 1, 1]);
  const mixed = await step(s, { dropPath: [first, first, first] });
  const row = plain.logits.length / BATCH;
  assert.equal(mixed.logits.subarray(0, row), dropped.logits.subarray(0, row));
  assert.equal(mixed.logits.subarray(row), plain.logits.subarray(row));
  for (const tensor of [ones, none, first]) tensor.dispose();
  await close(s);
});

passes('progressive training reaches only what it computes', async () => {
  const s = await setup(1);
  const { engine, params, model } = s;
  using tape = new Tape(engine);
  const loss = tape.run(() => {
    params.bind(tape, model);
    const logits = model.forward(tape, LABELS, null, { progSi: 0 });
    return tape.ops.sumTo(tape.ops.unary(logits, { fn: 'square' }), { shape: [1] });
  });
  await tape.backward(loss);
  const position = (await params.grad('pos_1LC').read()) as Float32Array;
  assert.ok(position.subarray(0, 64).some((v) => v !== 0));
  assert.ok(position.subarray(64).every((v) => v === 0));
  tape.close();
  await close(s);
});

passes('steps leave no tensor behind, and see new weights', async () => {
  const s = await setup(2);
  const first = await step(s);
  const tensors = s.engine.memory().tensors;
  s.engine.ops.accumulate(s.params.values, s.params.grads, { alpha: -0.1 });
  const second = await step(s);
  assert.is(s.engine.memory().tensors, tensors);
  assert.ok(second.loss < first.loss);
  await close(s);
});

passes('wrong options are refused', async () => {
  const s = await setup(1);
  assert.throws(() => s.model.forward(s.engine, LABELS, s.x, { checkpoint: true }), /needs a tape/);
  assert.throws(() => s.model.forward(s.engine, LABELS, s.x, { dropPath: [undefined] }), /1 entries for 3 blocks/);
  await close(s);
});

passes.run();
