import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { EngineError } from '../../../ts/core/errors.js';
import { createEngine, type Engine, type Tensor } from '../../../ts/engine/index.js';

const test = suite('late errors');

type Outcome = 'ok' | Error;
const outcome = (p: Promise<unknown>): Promise<Outcome> =>
  p.then(
    () => 'ok' as const,
    (e: Error) => e,
  );

// Eight independent chains of five commands (20 to 60 settle promises), one command of which fails.
function chains(engine: Engine): { reads: Promise<Outcome>[]; tail: Promise<Outcome>[] } {
  const reads: Promise<Outcome>[] = [];
  for (let k = 0; k < 8; k++) {
    let t: Tensor = engine.ops.fill({ shape: [3], value: k });
    for (let i = 0; i < 4; i++) {
      t = engine.ops.affine(t, { add: i });
      reads.push(outcome(t.read()));
    }
  }
  return { reads, tail: [outcome(engine.flush()), outcome(engine.throttle())] };
}

test('a fault at the n-th command settles every promise and poisons its own chain only', async () => {
  for (let n = 1; n <= 41; n++) {
    const engine = await createEngine({ device: 'null', fault: { failCommand: n } });
    const { reads, tail } = chains(engine);
    const results = await Promise.all(reads);
    const failed = results.map((r, i) => (r === 'ok' ? -1 : i)).filter((i) => i >= 0);
    const [flushed, throttled] = await Promise.all(tail);
    const closed = await outcome(engine.close());
    assert.is(throttled, 'ok');
    if (n > 40) {
      assert.equal([failed.length, flushed, closed], [0, 'ok', 'ok']);
      continue;
    }
    // Command n is number (n - 1) % 5 of chain floor((n - 1) / 5); number 0 is the fill.
    const chain = Math.floor((n - 1) / 5);
    const from = Math.max(0, ((n - 1) % 5) - 1);
    assert.equal(
      failed,
      [0, 1, 2, 3].slice(from).map((i) => 4 * chain + i),
    );
    for (const i of failed) {
      const e = results[i] as EngineError;
      assert.instance(e, EngineError);
      assert.is(e.command, n);
      assert.is(e.op, (n - 1) % 5 === 0 ? 'fill' : 'affine');
      assert.match(e.message, new RegExp(`injected fault at command ${n} `));
    }
    // The reads have told it.
    assert.equal([flushed, closed], ['ok', 'ok']);
  }
});

for (const [what, fault] of [
  ['allocation', 'failAlloc'],
  ['upload', 'failUpload'],
  ['download', 'failDownload'],
] as const) {
  test(`a fault at the n-th ${what} settles every promise`, async () => {
    for (let n = 1; n <= 12; n++) {
      const engine = await createEngine({ device: 'null', fault: { [fault]: n } });
      const all: Promise<Outcome>[] = [];
      for (let i = 0; i < 10; i++) {
        const t = engine.tensor(new Float32Array(i + 1), [i + 1]);
        all.push(outcome(engine.ops.unary(t, { fn: 'neg' }).read()));
      }
      all.push(outcome(engine.flush()));
      const results = await Promise.all(all);
      const bad = results.filter((r) => r !== 'ok').length;
      // An allocation that fails once is repeated after the cache was dropped.
      if (fault === 'failAlloc') assert.is(bad, 0);
      else assert.is(bad, n <= 10 ? 1 : 0);
      assert.is(await outcome(engine.close()), 'ok');
    }
  });
}

test('flush tells the first error nobody was told, once', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 2 } });
  const a = engine.ops.fill({ shape: [2, 3] });
  const b = engine.ops.affine(a);
  const e = (await outcome(engine.flush())) as EngineError;
  assert.is(e.message, '[affine] injected fault at command 2 (f32[2,3] -> f32[2,3]), command 2');
  assert.equal([e.op, e.command, e.shapes, e.code], ['affine', 2, 'f32[2,3] -> f32[2,3]', 'ERR_ENGINE']);
  assert.is(await outcome(engine.flush()), 'ok');
  assert.is(((await outcome(b.read())) as Error).message, e.message);
  assert.is(await outcome(a.read()), 'ok');
  assert.is(engine.stats().failed, 1);
  await engine.close();
});

test('close rejects with an untold error, and is closed even so', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 1, code: 4 } });
  engine.ops.fill({ shape: [1] });
  const e = (await outcome(engine.close())) as EngineError;
  assert.equal([e.name, e.code, e.op], ['EngineError', 'ERR_INDEX', 'fill']);
  assert.ok(engine.closed);
});

test('error events carry every late error', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 1 } });
  const seen: Error[] = [];
  engine.on('error', (e) => seen.push(e));
  const t = engine.ops.fill({ shape: [1] });
  engine.ops.affine(t);
  await outcome(engine.flush());
  assert.equal(
    seen.map((e) => (e as EngineError).op),
    ['fill'],
  );
  await engine.close();
});

test('an error listener that throws is an uncaught exception and keeps no promise from settling', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 1 } });
  const uncaught: unknown[] = [];
  const catcher = (e: unknown): void => void uncaught.push(e);
  process.once('uncaughtException', catcher);
  engine.on('error', () => {
    throw new Error('listener');
  });
  const reads = [engine.ops.fill({ shape: [1] }), engine.ops.fill({ shape: [1] })].map((t) => outcome(t.read()));
  const results = await Promise.all([...reads, outcome(engine.flush())]);
  assert.equal(
    results.map((r) => (r === 'ok' ? r : r.name)),
    ['EngineError', 'ok', 'ok'],
  );
  await engine.close();
  await new Promise((r) => setImmediate(r));
  process.off('uncaughtException', catcher);
  assert.equal(uncaught.map(String), ['Error: listener']);
});

test('an input changed in place is poisoned; a command that reads poison does not run', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 3 } });
  const state = engine.ops.fill({ shape: [4] });
  const grad = engine.ops.fill({ shape: [4] });
  engine.ops.accumulate(state, grad);
  const after = engine.ops.affine(state);
  const other = engine.ops.affine(grad);
  const results = await Promise.all([state, after, grad, other].map((t) => outcome(t.read())));
  assert.equal(
    results.map((r) => (r === 'ok' ? 'ok' : (r as EngineError).op)),
    ['accumulate', 'accumulate', 'ok', 'ok'],
  );
  assert.is(engine.stats().ops.affine?.count, 1);
  // A poisoned tensor is disposed as any other, and its slot is clean afterwards.
  state.dispose();
  const fresh = engine.ops.fill({ shape: [4] });
  assert.is(fresh.slot, state.slot);
  assert.is(await outcome(fresh.read()), 'ok');
  await engine.close();
});

test('out of memory: cached blocks are dropped first, then it is an error of that op alone', async () => {
  const engine = await createEngine({ device: 'null', fault: { allocLimit: 100_000 } });
  const small = engine.ops.fill({ shape: [20_000] });
  small.dispose();
  const large = engine.ops.fill({ shape: [24_000] });
  assert.is(await outcome(large.read()), 'ok');
  const second = engine.ops.fill({ shape: [24_000] });
  const e = (await outcome(second.read())) as EngineError;
  assert.equal([e.name, e.code], ['OutOfMemoryError', 'ERR_OUT_OF_MEMORY']);
  large.dispose();
  assert.is(await outcome(engine.ops.fill({ shape: [24_000] }).read()), 'ok');
  await engine.close();
});

test('an untold error is told after any number of told ones', async () => {
  const engine = await createEngine({ device: 'null', fault: { allocLimit: 1000 } });
  for (let i = 0; i < 100; i++) assert.is(((await outcome(engine.ops.fill({ shape: [9000] }).read())) as Error).name, 'OutOfMemoryError');
  engine.ops.fill({ shape: [9000] });
  assert.is(((await outcome(engine.flush())) as Error).name, 'OutOfMemoryError');
  assert.is(await outcome(engine.flush()), 'ok');
  await engine.close();
});

test('a tensor larger than any array: the read is out of memory, a tensor that cannot exist is refused at once', async () => {
  const engine = await createEngine({ device: 'null' });
  const good = engine.ops.fill({ shape: [2] });
  const e = (await outcome(engine.ops.fill({ shape: [1e6, 1e6] }).read())) as EngineError;
  assert.equal([e.code, e.message], ['ERR_OUT_OF_MEMORY', 'read: no host memory for f32[1000000,1000000]']);
  const max = 0x7fffffff;
  assert.throws(
    () => engine.ops.fill({ shape: [max, max] }),
    /\[fill\] the output would be f32\[2147483647,2147483647\], more than 64 TiB/,
  );
  assert.throws(() => engine.fromFile('/none', 0, [max, max], 'u8'), /fromFile: u8\[2147483647,2147483647\] is more than 64 TiB/);
  const long = engine.ops.fill({ shape: [max], dtype: 'u8' });
  assert.throws(() => engine.ops.concat(long, long, { axis: 0 }), /the output would be u8\[4294967294\]/);
  assert.is(await outcome(good.read()), 'ok');
  await engine.close();
});

test('the message of a kernel names its op once', async () => {
  const engine = await createEngine({ threads: 1 });
  const table = engine.tensor(new Float32Array(4), [2, 2]);
  const e = (await outcome(engine.ops.embedding(table, engine.tensor(Int32Array.of(0, 2), [2])).read())) as EngineError;
  assert.is(e.message, '[embedding] idx[1] is 2, the table [2,2] has rows 0 to 1 (f32[2,2], i32[2] -> f32[2,2]), command 3');
  await engine.close();
});

test('a lost device fails what follows with the same error', async () => {
  const engine = await createEngine({ device: 'null', fault: { failCommand: 2, code: 8 } });
  const a = engine.ops.fill({ shape: [1] });
  const b = engine.ops.fill({ shape: [1] });
  const c = engine.ops.fill({ shape: [1] });
  const results = (await Promise.all([a, b, c].map((t) => outcome(t.read())))) as EngineError[];
  assert.equal(
    results.map((r) => (typeof r === 'string' ? r : `${r.code} ${r.command}`)),
    ['ok', 'ERR_DEVICE_LOST 2', 'ERR_DEVICE_LOST 2'],
  );
  await outcome(engine.close());
});

test('a device that does not open rejects createEngine', async () => {
  const e = (await outcome(createEngine({ device: 'null', fault: { failCreate: 1 } }))) as Error;
  assert.match(e.message, /told to fail/);
  const unknown = (await outcome(createEngine({ device: 'tpu' as 'cpu' }))) as Error;
  assert.match(unknown.message, /device is "tpu": expected one of cpu, null, cuda/);
  const option = (await outcome(createEngine({ thread: 2 } as object))) as Error;
  assert.match(option.message, /unknown option "thread"/);
});

test.run();
