// Tensors that share memory: values, lifetime, errors.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ArgumentError, createEngine, DisposedError, type Engine, ShapeError } from '../../../ts/index.js';

const views = suite('views');
let engine: Engine;
views.before(async () => {
  engine = await createEngine({ threads: 2 });
});
views.after(async () => {
  await engine.close();
});

const numbers = (n: number) => Float32Array.from({ length: n }, (_, i) => i);

views('a view shows a range in another shape, and a view of a view a range of that', async () => {
  const base = engine.tensor(numbers(24), [4, 6]);
  const rows = engine.view(base, 6, [2, 6]);
  const inner = engine.view(rows, 3, [3, 3]);
  assert.equal([...(await rows.read())], [...numbers(24).slice(6, 18)]);
  assert.equal([...(await inner.read())], [...numbers(24).slice(9, 18)]);
  for (const t of [base, rows, inner]) t.dispose();
});

views('an op that writes a view in place changes the base, and only there', async () => {
  const base = engine.tensor(numbers(8), [8]);
  const middle = engine.view(base, 2, [3]);
  const one = engine.ops.fill({ shape: [3], value: 100 });
  engine.ops.accumulate(middle, one);
  assert.equal([...(await base.read())], [0, 1, 102, 103, 104, 5, 6, 7]);
  for (const t of [base, middle, one]) t.dispose();
});

views('memory lives until the last of base and views is disposed', async () => {
  await engine.flush();
  const before = engine.memory().liveBytes;
  const base = engine.ops.fill({ shape: [1 << 20], value: 3 });
  const view = engine.view(base, 1 << 19, [4]);
  base.dispose();
  await engine.flush();
  assert.ok(engine.memory().liveBytes >= before + (4 << 20));
  assert.equal([...(await view.read())], [3, 3, 3, 3]);
  view.dispose();
  await engine.flush();
  assert.is(engine.memory().liveBytes, before);
});

views('dtypes keep their size, scopes own views, integers are viewed alike', async () => {
  const bytes = engine.tensor(Uint8Array.from([1, 2, 3, 4, 5]), [5]);
  const tail = engine.scope(() => {
    engine.view(bytes, 0, [2]);
    return engine.view(bytes, 3, [2]);
  });
  assert.is(tail.dtype, 'u8');
  assert.equal([...(await tail.read())], [4, 5]);
  tail.dispose();
  bytes.dispose();
});

views('what does not fit, is disposed or belongs elsewhere is refused at the call', async () => {
  const base = engine.ops.fill({ shape: [4] });
  assert.throws(
    () => engine.view(base, 2, [3]),
    (e: unknown) => e instanceof ShapeError && /view: \[3\] from element 2 on does not fit f32\[4\]/.test(e.message),
  );
  assert.throws(
    () => engine.view(base, -1, [1]),
    (e: unknown) => e instanceof ArgumentError,
  );
  base.dispose();
  assert.throws(
    () => engine.view(base, 0, [4]),
    (e: unknown) => e instanceof DisposedError,
  );
  const other = await createEngine({ threads: 1 });
  const foreign = other.ops.fill({ shape: [2] });
  assert.throws(
    () => engine.view(foreign, 0, [2]),
    (e: unknown) => e instanceof ArgumentError && /another engine/.test(e.message),
  );
  await other.close();
});

views('what an op writes in place must not be read through another input', async () => {
  const base = engine.tensor(numbers(8), [4, 2]);
  const part = (from: number, shape: number[]) => engine.view(base, from, shape);
  const idx = engine.tensor(Int32Array.from([1, 0]), [2]);
  const refused = (pattern: RegExp, call: () => void) =>
    assert.throws(call, (e: unknown) => e instanceof ArgumentError && pattern.test(e.message));
  refused(/\[scatter_rows\] dst is written in place and shares memory with src/, () => engine.ops.scatterRows(base, idx, part(4, [2, 2])));
  refused(/\[accumulate\] y is written in place and shares memory with x/, () => engine.ops.accumulate(part(0, [4]), part(1, [4])));
  refused(/\[embedding_grad\] dTable/, () => engine.ops.embeddingGrad(idx, part(0, [2, 2]), engine.view(part(2, [3, 2]), 0, [3, 2])));
  refused(/\[write_slice\] dst/, () => engine.ops.writeSlice(base, base, { axis: 0, start: 0 }));
  engine.ops.accumulate(part(0, [4]), part(4, [4]));
  engine.ops.accumulate(part(4, [4]), part(4, [4]));
  assert.equal([...(await base.read())], [4, 6, 8, 10, 8, 10, 12, 14]);
  for (const t of [base, idx]) t.dispose();
});

views('an error inside an op that works in place is seen by every view of the memory, and nowhere else', async () => {
  const table = engine.ops.fill({ shape: [4, 2] });
  const row = engine.view(table, 2, [2]);
  const idx = engine.tensor(Int32Array.from([9]), [1]);
  const src = engine.ops.fill({ shape: [1, 2] });
  engine.ops.scatterRows(table, idx, src);
  const failed = async (t: typeof table) =>
    t.read().then(
      () => '',
      (e: Error) => e.message,
    );
  assert.match(await failed(row), /scatter_rows/);
  assert.match(await failed(table), /scatter_rows/);
  assert.equal([...(await src.read())], [0, 0]);
  for (const t of [table, row, idx, src]) t.dispose();
});

views.run();
