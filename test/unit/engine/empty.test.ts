// engine.empty: tensors that nothing has been written to.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../../ts/autograd/index.js';
import { ArgumentError, createEngine, EngineClosedError, ShapeError } from '../../../ts/index.js';

const test = suite('empty');
const numbers = (n: number) => Float32Array.from({ length: n }, (_, i) => i);

for (const device of ['cpu', 'null'] as const)
  test(`an empty tensor has shape, dtype and memory on ${device}, and no op runs`, async () => {
    await using engine = await createEngine({ device });
    const t = engine.empty([2, 3, 512], 'bf16');
    assert.equal([t.shape, t.dtype, t.size], [[2, 3, 512], 'bf16', 3072]);
    assert.is((await t.read()).length, 3072);
    assert.is(engine.memory().liveBytes, 6144);
    assert.equal(
      Object.values(engine.stats().ops).filter(({ count }) => count > 0),
      [],
    );
    t.dispose();
    await engine.flush();
    assert.is(engine.memory().liveBytes, 0);
  });

test('ops write it in place, write() replaces it, views share it', async () => {
  await using engine = await createEngine({ threads: 1 });
  const t = engine.empty([4, 2]);
  const two = engine.tensor(numbers(4), [2, 2]);
  engine.ops.writeSlice(t, two, { axis: 0, start: 0 });
  engine.ops.writeSlice(t, two, { axis: 0, start: 2 });
  assert.equal([...(await engine.view(t, 2, [4]).read())], [2, 3, 0, 1]);
  t.write(numbers(8));
  assert.equal([...(await t.read())], [...numbers(8)]);
});

test('a capture may make and keep empty tensors; replays write them again', async () => {
  await using engine = await createEngine({ threads: 1 });
  const x = engine.tensor(numbers(4), [4]);
  using capture = engine.capture(() => {
    const t = engine.empty([8]);
    engine.ops.writeSlice(t, x, { axis: 0, start: 0 });
    engine.ops.writeSlice(t, engine.ops.affine(x, { mul: 10 }), { axis: 0, start: 4 });
    return engine.ops.affine(t, { add: 1 });
  });
  assert.equal([...(await capture.outputs.read())], [1, 2, 3, 4, 1, 11, 21, 31]);
  x.write(Float32Array.from([5, 6, 7, 8]));
  capture.replay();
  assert.equal([...(await capture.outputs.read())], [6, 7, 8, 9, 51, 61, 71, 81]);
});

test('a tape makes them as its engine does', async () => {
  await using engine = await createEngine({ threads: 1 });
  using tape = new Tape(engine);
  assert.is(tape.empty([2]).dtype, 'f32');
});

test('a cancelled scope leaves none behind, and wrong arguments are refused', async () => {
  const engine = await createEngine({ threads: 1 });
  const controller = new AbortController();
  const scope = engine.openScope({ signal: controller.signal });
  controller.abort();
  assert.throws(
    () => scope.run(() => engine.empty([2])),
    (e: Error) => e.name === 'AbortError',
  );
  scope.close();
  assert.throws(
    () => engine.empty([0]),
    (e: Error) => e instanceof ArgumentError,
  );
  assert.throws(
    () => engine.empty([2], 'f64' as never),
    (e: Error) => e instanceof ArgumentError,
  );
  assert.throws(
    () => engine.empty([2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1]),
    (e: Error) => e instanceof ShapeError,
  );
  engine.empty([2 ** 30, 2 ** 12]);
  assert.match(String(await engine.flush().catch((e: Error) => e)), /memory/i);
  await engine.close().catch(() => undefined);
  assert.throws(
    () => engine.empty([2]),
    (e: Error) => e instanceof EngineClosedError,
  );
});

test.run();
