// driver: timeout=600
// The engine on the device 'cuda': order, reads on a second thread, errors that the device finds late, captures as graphs. On a GPU, or on
// the emulated plug-in (cmake -DNEXTSCALE_EMULATE=ON).
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type EngineOptions, type Tensor } from '../../ts/engine/index.js';
import { cudaDevice, scenario } from './support.js';

const test = suite('engine on cuda');
const device = await cudaDevice();

const f32 = (...values: number[]): Float32Array => Float32Array.from(values);
const floats = async (t: Tensor): Promise<number[]> => Array.from(await t.read(), Number);
const message = (p: Promise<unknown>): Promise<string> => p.then(String, (e: Error) => `${e.name}: ${e.message}`);
const using = async (options: EngineOptions, work: (e: Engine) => Promise<void>): Promise<void> => {
  const engine = await createEngine({ device: 'cuda', ...options });
  try {
    await work(engine);
  } finally {
    if (!engine.closed) await engine.close();
  }
};
const outOfRange = (e: Engine): Tensor => e.ops.embedding(e.tensor(f32(1, 2), [2, 1]), e.tensor(Int32Array.of(1, 5), [2]));

// Where there is no device, one visible skip stands for all of them.
type Test = (name: string, run: () => Promise<void>) => void;
const nothing: Test = () => {};
const onDevice: Test = device.there ? test : nothing;
const onEmulation: Test = device.emulated ? test : nothing;
if (!device.there) test.skip(`no device: ${device.reason}`, () => {});
if (!device.emulated) test.skip(`faults need the emulated plug-in: ${device.reason}`, () => {});

// What the captured body adds to the sum for the input of step i.
const added = (i: number): number[] => [i * i + 1, 2, (i / 10) ** 2 + 1];

onDevice('each read gives the value at its place in the program', () =>
  using({}, async (e) => {
    const sum = e.tensor(f32(0, 0), [2]);
    const one = e.tensor(f32(1, 2), [2]);
    const reads: Promise<number[]>[] = [];
    for (let i = 0; i < 50; i++) {
      e.ops.accumulate(sum, one);
      reads.push(floats(sum));
      if (i % 10 === 9) one.write(f32(i, i));
    }
    let [a, b, step] = [0, 0, [1, 2]];
    for (const [i, read] of reads.entries()) {
      [a, b] = [a + step[0]!, b + step[1]!];
      assert.equal(await read, [a, b]);
      if (i % 10 === 9) step = [i, i];
    }
  }),
);

onDevice('uploads and reads of every size', () =>
  using({}, async (e) => {
    for (const n of [1, 3, 16_384, 16_385, 1_000_003, 9_000_001]) {
      const data = Int32Array.from({ length: n }, (_, i) => (i * 2654435761) | 0);
      const t = e.tensor(data, [n]);
      const got = (await t.read()) as Int32Array;
      assert.ok(Buffer.from(got.buffer).equals(Buffer.from(data.buffer)), `${n} elements`);
      t.dispose();
    }
  }),
);

onDevice('10,000 steps hold the memory of one', () =>
  using({}, async (e) => {
    const state = e.ops.fill({ shape: [256] });
    const step = (): void => e.scope(() => void e.ops.accumulate(state, e.ops.affine(e.ops.unary(state, { fn: 'tanh' }), { add: 1 })));
    step();
    await e.flush();
    const { liveBytes, poolBytes } = e.memory();
    for (let i = 0; i < 2000; i++) {
      step();
      if (i % 500 === 0) await e.throttle();
    }
    await e.flush();
    assert.equal([e.memory().liveBytes, e.memory().poolBytes], [liveBytes, poolBytes]);
  }),
);

onDevice('an index out of range rejects the next read, flush or close, once and by name', async () => {
  const late = /EngineError: \[embedding\] index 5 at element 1 is out of range/;
  await using({}, async (e) => {
    const seen: Error[] = [];
    e.on('error', (error) => seen.push(error));
    const before = e.ops.fill({ shape: [2], value: 3 }).read();
    const y = outOfRange(e);
    assert.match(await message(y.read()), late);
    assert.equal(Array.from(await before), [3, 3]);
    assert.is(await message(e.flush()), 'undefined');
    outOfRange(e);
    assert.match(await message(e.flush()), late);
    assert.equal(await floats(e.ops.fill({ shape: [2], value: 4 })), [4, 4], 'the engine works on');
    outOfRange(e);
    assert.match(await message(e.close()), late);
    assert.ok(e.closed);
    assert.is(seen.length, 3);
    assert.is((seen[0] as Error & { code: string; op: string }).code, 'ERR_INDEX');
    assert.is((seen[0] as Error & { code: string; op: string }).op, 'embedding');
  });
});

onDevice('out of memory names what holds it; the engine works on', () =>
  using({ fault: { memoryLimit: 2 ** 26 } }, async (e) => {
    const kept = e.ops.fill({ shape: [2 ** 22], value: 1 });
    const tooMuch = e.ops.fill({ shape: [2 ** 24], value: 1 });
    const text = await message(tooMuch.read());
    assert.match(
      text,
      /OutOfMemoryError: \[fill\] no memory for 64\.0 MiB: device .*, free .*, limit 64\.0 MiB; held 16\.0 MiB in 2 blocks; largest 16\.0 MiB x1/,
    );
    assert.ok((e.describe().memory as { blocks: number[][] }).blocks.some(([size]) => size === 2 ** 24));
    const cached = e.ops.fill({ shape: [2 ** 23] });
    cached.dispose();
    assert.equal((await e.ops.fill({ shape: [10 * 2 ** 20], value: 2 }).read())[7], 2, 'the cache is given up');
    assert.is((await kept.read())[2 ** 22 - 1], 1);
  }),
);

onDevice('a capture is a graph: replays compute what the calls would', () =>
  using({}, async (e) => {
    const x = e.tensor(f32(1, 2, 3), [3]);
    const sum = e.tensor(f32(0, 0, 0), [3]);
    const body = (): Tensor => {
      const y = e.ops.affine(e.ops.unary(x, { fn: 'square' }), { add: 1 });
      e.ops.accumulate(sum, y);
      return e.ops.softmax(e.ops.reshape(y, { shape: [1, 3] }));
    };
    using capture = e.capture(() => e.scope(body));
    assert.equal(await floats(sum), [2, 5, 10], 'in place once');
    const { liveBytes, poolBytes } = e.memory();
    let total = [2, 5, 10];
    for (let i = 0; i < 20; i++) {
      x.write(f32(i, 1, -i / 10));
      capture.replay();
      const mine = await floats(capture.outputs);
      total = total.map((v, k) => v + (added(i)[k] ?? 0));
      e.ops.accumulate(sum, e.tensor(f32(0, 0, 0), [3]));
      assert.equal(
        await floats(
          e.scope(() => e.ops.softmax(e.ops.reshape(e.ops.affine(e.ops.unary(x, { fn: 'square' }), { add: 1 }), { shape: [1, 3] }))),
        ),
        mine,
      );
    }
    const got = await floats(sum);
    for (const [k, v] of total.entries()) assert.ok(Math.abs(got[k]! - v) < 1e-3, `${got} ${total}`);
    for (let i = 0; i < 1000; i++) capture.replay();
    await e.flush();
    assert.equal(e.stats().replays, { graph: 1020, calls: 0 });
    assert.ok(e.memory().liveBytes <= liveBytes + 60 * 64, 'no growth');
    assert.ok(e.memory().poolBytes <= poolBytes + 60 * 64, 'no growth');
  }),
);

onDevice('an index error inside a replay rejects the read after it', () =>
  using({}, async (e) => {
    const table = e.tensor(f32(1, 2), [2, 1]);
    const idx = e.tensor(Int32Array.of(0, 1), [2]);
    using capture = e.capture(() => e.ops.embedding(table, idx));
    assert.equal(await floats(capture.outputs), [1, 2]);
    idx.write(Int32Array.of(1, 9));
    capture.replay();
    assert.match(await message(capture.outputs.read()), /\[embedding\] index 9 at element 1/);
    idx.write(Int32Array.of(1, 1));
    capture.replay();
    assert.equal(await floats(capture.outputs), [2, 2]);
  }),
);

onDevice('several engines side by side; close while reads are pending', async () => {
  const engines = await Promise.all([1, 2, 3].map(() => createEngine({ device: 'cuda' })));
  const reads = engines.flatMap((e, k) => {
    const t = e.tensor(f32(k, 1), [2]);
    return [...Array(20)].map((_, i) => floats(e.ops.affine(t, { mul: i })));
  });
  await Promise.all(engines.map((e) => e.close()));
  assert.equal(
    await Promise.all(reads),
    [0, 1, 2].flatMap((k) => [...Array(20)].map((_, i) => [k * i, i])),
  );
});

onDevice('a process ends cleanly with work queued, and with an engine nobody closed', async () => {
  for (const name of ['exit', 'forgotten'] as const) assert.equal(await scenario(name), { ended: true });
});

// Faults of the device itself, injected into a process of its own.
for (const late of [false, true]) {
  onEmulation(`a lost device fails all that follows with one error; close settles${late ? ' (found late)' : ''}`, async () => {
    const r = await scenario('lost', { fault: `launch:3${late ? ',late' : ''}` });
    const { reads, flush, close, next } = r as { reads: string[]; flush: string; close: string; next: string };
    const failed = reads.filter((t) => t !== 'ok');
    assert.ok(failed.length >= 6, String(reads));
    for (const t of failed) assert.match(t, /ERR_DEVICE_LOST .*injected/);
    assert.match(flush, /ERR_DEVICE_LOST|ok/);
    assert.match(close, /ERR_DEVICE_LOST|ok/);
    assert.match(next, /not available|LOST/);
  });
}

onEmulation('whichever allocation fails, every promise settles', async () => {
  for (let n = 1; n <= 14; n++) {
    const { reads, close } = (await scenario('work', { fault: `malloc:${n}` })) as { reads: string[]; close: string };
    for (const t of [...reads, close]) assert.match(t, /^(ok|ERR_OUT_OF_MEMORY|ERR_UNSUPPORTED|create)/, `malloc:${n}`);
  }
});

onEmulation('a device with little memory refuses what does not fit', async () => {
  const { reads } = (await scenario('large', { memory: 48 * 2 ** 20 })) as { reads: string[] };
  assert.match(reads[0]!, /ERR_OUT_OF_MEMORY \[fill\] no memory for 64\.0 MiB: device 48\.0 MiB, free/);
  assert.is(reads[1], 'ok');
});

test.run();
