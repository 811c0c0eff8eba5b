import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type Tensor } from '../../../ts/engine/index.js';

const test = suite('lifetime');
let engine: Engine;

test.before.each(async () => {
  engine = await createEngine({ device: 'null' });
});
test.after.each(async () => {
  if (!engine.closed) await engine.close();
});

const two = (): Tensor => engine.tensor(new Float32Array([1, 2]), [2]);
const live = async (): Promise<number> => {
  await engine.flush();
  return engine.memory().liveBytes;
};

test('10,000 steps hold the memory of one', async () => {
  const state = engine.ops.fill({ shape: [1024] });
  const step = (): void =>
    engine.scope(() => {
      const y = engine.ops.affine(engine.ops.unary(state, { fn: 'tanh' }), { mul: 2 });
      engine.ops.accumulate(state, y);
    });
  step();
  const start = await live();
  const { poolBytes } = engine.memory();
  for (let i = 0; i < 10_000; i++) {
    step();
    if (i % 500 === 0) {
      await engine.throttle();
      assert.is(engine.memory().tensors, 1);
    }
  }
  assert.is(await live(), start);
  assert.is(engine.memory().poolBytes, poolBytes);
  assert.is(engine.stats().ops.accumulate?.count, 10_001);
});

test('a tensor takes a copy of its data, also out of shared memory', async () => {
  const cpu = await createEngine({ threads: 1 });
  for (const buffer of [new SharedArrayBuffer(16), new ArrayBuffer(16)]) {
    const data = new Float32Array(buffer, 4, 3);
    data.set([1, 2, 3]);
    const t = cpu.tensor(data, [3]);
    data.fill(9);
    assert.equal(await t.read(), Float32Array.of(1, 2, 3));
  }
  await cpu.close();
});

test('dispose in flight: what is enqueued before still runs', async () => {
  const a = two();
  const b = engine.ops.unary(a, { fn: 'neg' });
  a.dispose();
  const c = engine.ops.unary(b, { fn: 'neg' });
  b.dispose();
  const values = c.read();
  c.dispose();
  assert.is((await values).length, 2);
  assert.is(await live(), 0);
});

test('use after dispose throws at the call and names op and input', async () => {
  const a = two();
  a.dispose();
  a.dispose();
  assert.throws(() => engine.ops.unary(a, { fn: 'neg' }), /\[unary\] x f32\[2\] is disposed/);
  assert.ok(a.disposed);
  try {
    await a.read();
    assert.unreachable();
  } catch (e) {
    assert.is((e as Error).name, 'DisposedError');
  }
});

test('a stale id is not the tensor that has its slot now', async () => {
  const a = two();
  a.dispose();
  const b = two();
  assert.is(b.slot, a.slot);
  assert.is.not(b.generation, a.generation);
});

test('scope keeps what it returns: tensors, arrays, objects, maps', async () => {
  const kept = engine.scope(() => {
    two();
    const list = [two(), two()];
    return { one: two(), list, map: new Map([['k', two()]]), nothing: null, n: 3 };
  });
  assert.is(engine.memory().tensors, 4);
  assert.not.ok(kept.one.disposed || kept.list[0]?.disposed || kept.map.get('k')?.disposed);
});

test('nested scopes: what the inner one keeps belongs to the outer one', () => {
  const before = two();
  engine.scope(() => {
    const inner = engine.scope(() => {
      two();
      return two();
    });
    assert.not.ok(inner.disposed);
    assert.is(engine.memory().tensors, 2);
  });
  assert.is(engine.memory().tensors, 1);
  assert.not.ok(before.disposed);
});

test('a scope that throws disposes all', () => {
  assert.throws(
    () =>
      engine.scope(() => {
        two();
        throw new Error('mine');
      }),
    /mine/,
  );
  assert.is(engine.memory().tensors, 0);
  two();
  assert.is(engine.memory().tensors, 1);
});

test('an async function in a synchronous scope is refused', () => {
  assert.throws(() => engine.scope(async () => two()), /use engine\.openScope/);
  assert.is(engine.memory().tensors, 0);
});

test('open scopes interleave across await', async () => {
  const work = async (n: number): Promise<number> => {
    const scope = engine.openScope();
    for (let i = 0; i < n; i++) {
      const t = scope.run(() => two());
      await t.read();
      assert.is(scope.size, i + 1);
    }
    const last = scope.run(() => two());
    scope.keep(last);
    scope.close();
    assert.not.ok(last.disposed);
    last.dispose();
    return n;
  };
  assert.equal(await Promise.all([work(3), work(5), work(2)]), [3, 5, 2]);
  assert.is(engine.memory().tensors, 0);
  assert.is(await live(), 0);
});

test('a closed scope refuses work; dispose of a scoped tensor is fine', () => {
  const scope = engine.openScope();
  const t = scope.run(() => two());
  t.dispose();
  assert.is(scope.size, 0);
  scope.close();
  scope.close();
  assert.throws(() => scope.run(() => two()), /the scope is closed/);
});

test('after close every call says so', async () => {
  const a = two();
  const closing = engine.close();
  assert.is(engine.close(), closing);
  await closing;
  for (const call of [() => two(), () => engine.ops.unary(a, { fn: 'neg' }), () => engine.memory(), () => engine.scope(() => 0)]) {
    assert.throws(call, (e: Error) => e.name === 'EngineClosedError');
  }
  for (const call of [a.read(), engine.flush(), engine.throttle()]) {
    assert.is(
      await call.then(
        () => 'resolved',
        (e: Error) => e.name,
      ),
      'EngineClosedError',
    );
  }
  a.dispose();
});

test('close executes what is queued, and its reads settle', async () => {
  const a = two();
  const reads = Array.from({ length: 20 }, () => engine.ops.unary(a, { fn: 'neg' }).read());
  const waiting = [engine.flush(), engine.throttle()];
  await engine.close();
  assert.is((await Promise.all(reads)).length, 20);
  await Promise.all(waiting);
});

test('two engines do not know each other', async () => {
  const other = await createEngine({ device: 'null' });
  const a = two();
  const b = other.tensor(new Float32Array(2), [2]);
  assert.throws(() => engine.ops.binary(a, b, { fn: 'add' }), /\[binary\] b belongs to another engine/);
  await engine.close();
  assert.is((await b.read()).length, 2);
  await other.close();
});

test('memory events follow flush and throttle', async () => {
  const seen: number[] = [];
  engine.on('memory', (m) => seen.push(m.liveBytes));
  two();
  await engine.flush();
  two();
  await engine.flush();
  await engine.throttle();
  assert.equal(seen, [64, 128, 128]);
});

test('await using closes', async () => {
  const e = await createEngine({ device: 'null' });
  await e[Symbol.asyncDispose]();
  assert.ok(e.closed);
});

test('data and shapes are checked', () => {
  assert.throws(() => engine.tensor(new Float32Array(3), [2]), /shape \[2\] has 2 elements, data has 3/);
  assert.throws(() => engine.tensor(new Uint16Array(2), [2]), /dtype is undefined: expected f16 or bf16/);
  assert.throws(() => engine.tensor(new Float32Array(2), [2], 'i32'), /expected f32 for a Float32Array/);
  assert.throws(() => engine.tensor([1, 2] as unknown as Float32Array, [2]), /data is \[1,2\]/);
  assert.throws(() => engine.tensor(new Float32Array(2), [-2]), /shape is \[-2\]/);
  const shape = [2];
  const t = engine.ops.fill({ shape });
  shape[0] = 3;
  assert.equal(t.shape, [2]);
});

test.run();
