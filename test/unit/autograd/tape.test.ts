// The tape itself: several consumers, accumulation, what is released when, errors.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { ArgumentError, DisposedError } from '../../../ts/core/errors.js';
import { createEngine, type Engine, type Tensor } from '../../../ts/engine/index.js';

const tape = suite('tape');
let engine: Engine;

tape.before.each(async () => {
  engine = await createEngine({ threads: 1 });
});
tape.after.each(async () => {
  await engine.close();
});

const row = (...values: number[]): Tensor => engine.tensor(Float32Array.from(values), [values.length]);
const zeros = (...shape: number[]): Tensor => engine.ops.fill({ shape });
const values = async (t: Tensor): Promise<number[]> => [...(await t.read())];

/** The gradient at x of the sum of what f makes of it. */
async function gradient(x: Tensor, f: (t: Tape, x: Tensor) => Tensor, scale?: number): Promise<number[]> {
  using t = new Tape(engine);
  const grad = zeros(...x.shape);
  const loss = t.run(() => {
    t.watch(x, grad);
    return t.ops.sumTo(f(t, x), { shape: [1] });
  });
  await t.backward(loss, scale === undefined ? {} : { scale });
  return values(grad);
}

const add = { fn: 'add' } as const;
const mul = { fn: 'mul' } as const;

tape('a value with several consumers gets the sum', async () => {
  const x = row(1, 2, 3);
  assert.equal(await gradient(x, (t, x) => t.ops.binary(x, x, mul)), [2, 4, 6]);
  assert.equal(await gradient(x, (t, x) => t.ops.binary(t.ops.binary(x, x, add), x, add)), [3, 3, 3]);
  const diamond = (t: Tape, x: Tensor) => {
    const y = t.ops.affine(x, { mul: 2 });
    return t.ops.binary(t.ops.unary(y, { fn: 'square' }), t.ops.binary(y, y, add), add);
  };
  // 4 x^2 + 4 x
  assert.equal(await gradient(x, diamond), [12, 20, 28]);
  assert.equal(await gradient(x, (t, x) => t.ops.concat(x, t.ops.concat(x, x, { axis: 0 }), { axis: 0 })), [3, 3, 3]);
});

tape('parts that overlap add up', async () => {
  const x = row(1, 2, 3, 4);
  const parts = (t: Tape, x: Tensor) =>
    t.ops.binary(t.ops.slice(x, { axis: 0, start: 0, size: 3 }), t.ops.slice(x, { axis: 0, start: 1, size: 3 }), mul);
  assert.equal(await gradient(x, parts), [2, 4, 6, 3]);
});

tape('a gradient that is passed on without a copy is not written by others', async () => {
  // a and b share the gradient of their sum; b gets a second one, a must not see it.
  const [a, b] = [row(1, 2), row(3, 4)];
  const [da, db] = [zeros(2), zeros(2)];
  using t = new Tape(engine);
  const loss = t.run(() => {
    t.watch(a, da);
    t.watch(b, db);
    const [p, q] = [t.ops.affine(a, { mul: 2 }), t.ops.affine(b, { mul: 3 })];
    const twice = t.ops.unary(q, { fn: 'square' });
    return t.ops.sumTo(t.ops.binary(t.ops.binary(p, q, add), twice, add), { shape: [1] });
  });
  await t.backward(loss);
  assert.equal(await values(da), [2, 2]);
  assert.equal(await values(db), [3 * (1 + 2 * 9), 3 * (1 + 2 * 12)]);
});

tape('the loss is scaled, and two passes add up', async () => {
  const x = row(1, -2);
  assert.equal(await gradient(x, (t, x) => t.ops.unary(x, { fn: 'square' }), 0.5), [1, -2]);
  const grad = zeros(2);
  for (let i = 0; i < 2; i++) {
    using t = new Tape(engine);
    const loss = t.run(() => {
      t.watch(x, grad);
      return t.ops.sumTo(t.ops.unary(x, { fn: 'square' }), { shape: [1] });
    });
    await t.backward(loss);
  }
  assert.equal(await values(grad), [4, -8]);
});

tape('one weight may be packed and used more than once', async () => {
  const w = engine.tensor(Float32Array.of(1, 2, 3, 4), [2, 2]);
  const grad = zeros(2, 2);
  using t = new Tape(engine);
  const loss = t.run(() => {
    t.watch(w, grad);
    const x = t.tensor(Float32Array.of(1, 10), [1, 1, 2]);
    const packed = t.ops.linearPack(w);
    const y = t.ops.linear(t.ops.linear(x, packed, { n: 2 }), t.ops.linearPack(w), { n: 2 });
    return t.ops.sumTo(t.ops.binary(y, t.ops.linear(x, packed, { n: 2 }), add), { shape: [1] });
  });
  await t.backward(loss);
  // y = W W x + W x: dW = 1 (W x)^T + W^T 1 x^T + 1 x^T with W x = (21, 43) and W^T 1 = (4, 6).
  assert.equal(await values(grad), [21 + 4 + 1, 43 + 40 + 10, 21 + 6 + 1, 43 + 60 + 10]);
});

tape('detach stops the gradient, straightThrough redirects it', async () => {
  const x = row(1, 2, 3);
  assert.equal(await gradient(x, (t, x) => t.ops.binary(t.detach(x), x, mul)), [1, 2, 3]);
  const quantized = row(0, 4, 4);
  assert.equal(await gradient(x, (t, x) => t.ops.binary(t.straightThrough(quantized, x), row(5, 6, 7), mul)), [5, 6, 7]);
});

tape('straightThrough has the value', async () => {
  using t = new Tape(engine);
  const y = t.run(() => t.straightThrough(row(0, 4), row(1, 2)));
  assert.equal(await values(y), [0, 4]);
});

tape('what needs no gradient costs nothing', async () => {
  using t = new Tape(engine);
  const before = engine.memory().tensors;
  const y = t.run(() => t.ops.unary(row(1, 2), { fn: 'exp' }));
  y.dispose();
  assert.is(engine.memory().tensors, before + 1, 'the input alone is left');
});

tape('an op without integers or without a rule', async () => {
  using t = new Tape(engine);
  const x = engine.tensor(new Float32Array(4), [1, 1, 4]);
  t.run(() => {
    t.retain(x);
    const flat = t.ops.reshape(x, { shape: [1, 4] });
    assert.is(t.ops.reduce(flat, { fn: 'argmax' }).dtype, 'i32');
    assert.is(t.ops.vqLookup(flat, zeros(3, 4)).dtype, 'i32');
    const k = engine.tensor(Int32Array.of(1), [1]);
    assert.throws(
      () => t.ops.truncateLogits(x, k, row(0)),
      (e: Error) => e instanceof ArgumentError && /\[truncate_logits\] has no gradient.*logits/.test(e.message),
    );
    assert.throws(() => t.ops.reduce(flat, { fn: 'max' }), /\[reduce\] max has no gradient/);
  });
});

tape('writing in place', () => {
  using t = new Tape(engine);
  const [x, saved] = [row(1, 2), row(3, 4)];
  t.run(() => {
    t.watch(x, zeros(2));
    const y = t.ops.binary(x, saved, mul);
    assert.throws(() => t.ops.accumulate(y, row(1, 1)), /\[accumulate\] y is recorded on a tape/);
    assert.throws(() => t.ops.accumulate(saved, row(1, 1)), /\[accumulate\] y is recorded/);
    assert.throws(() => t.ops.writeSlice(zeros(4), y, { axis: 0, start: 0 }), /the gradient of src would be lost/);
    t.ops.accumulate(zeros(2), row(1, 1));
  });
});

tape('wrong use is refused', async () => {
  const x = row(1, 2);
  const t = new Tape(engine);
  assert.throws(() => t.watch(x, zeros(3)), /watch: grad is f32\[3\], expected f32\[2\]/);
  t.watch(x, zeros(2));
  const { y, loss } = t.run(() => {
    const y = t.ops.unary(x, { fn: 'exp' });
    return { y, loss: t.ops.sumTo(y, { shape: [1] }) };
  });
  assert.throws(() => t.watch(y, zeros(2)), /computed on this tape/);
  await rejects(t.backward(y), ArgumentError, /loss is \[2\], expected a single element/);
  await rejects(t.backward(row(1)), ArgumentError, /does not depend on a watched tensor/);
  await rejects(t.backward(loss, { scale: Number.NaN }), ArgumentError, /scale/);
  await t.backward(loss);
  await rejects(t.backward(loss), ArgumentError, /spent/);
  assert.throws(() => t.ops.unary(x, { fn: 'exp' }), /spent/);
  t.close();
  t.close();
  assert.throws(() => t.run(() => 0), /the tape is closed/);
  assert.throws(() => t.ops.fill({ shape: [1] }), /the tape is closed/);
  await rejects(t.backward(loss), DisposedError, /closed/);
});

async function rejects(work: Promise<unknown>, type: new (...args: never[]) => Error, message: RegExp): Promise<void> {
  const error = await work.then(
    () => undefined,
    (e: unknown) => e,
  );
  assert.instance(error, type);
  assert.match((error as Error).message, message);
}

tape('a weight that was packed elsewhere', () => {
  using t = new Tape(engine);
  const x = engine.tensor(new Float32Array(2), [1, 1, 2]);
  const packed = engine.ops.linearPack(zeros(3, 2));
  t.run(() => {
    t.ops.linear(x, packed, { n: 3 });
    t.retain(x);
    assert.throws(() => t.ops.linear(x, packed, { n: 3 }), /\[linear\] w was not packed on this tape/);
  });
});

tape('backward ends with the signal, and keeps nothing', async () => {
  const control = new AbortController();
  const x = row(1, 2);
  const grad = zeros(2);
  const before = engine.memory().tensors;
  const t = new Tape(engine, { signal: control.signal });
  const loss = t.run(() => {
    t.watch(x, grad);
    let y = t.ops.affine(x, { mul: 0.5 });
    for (let i = 0; i < 100; i++) y = t.ops.unary(y, { fn: 'tanh' });
    return t.ops.sumTo(y, { shape: [1] });
  });
  const work = t.backward(loss);
  control.abort();
  await rejects(work, Error, /aborted/);
  t.close();
  assert.is(engine.memory().tensors, before);
});

tape('the event loop has its turns during a long backward pass', async () => {
  const x = row(1, 2);
  using t = new Tape(engine);
  const loss = t.run(() => {
    t.watch(x, zeros(2));
    let y = t.ops.affine(x, { mul: 0.5 });
    for (let i = 0; i < 400; i++) y = t.ops.unary(y, { fn: 'tanh' });
    return t.ops.sumTo(y, { shape: [1] });
  });
  let turns = 0;
  const timer = setInterval(() => {}, 1000);
  const count = () => {
    turns++;
    again = setImmediate(count);
  };
  let again = setImmediate(count);
  await t.backward(loss);
  clearImmediate(again);
  clearInterval(timer);
  assert.ok(turns >= 8, `${turns} turns`);
});

tape.run();
