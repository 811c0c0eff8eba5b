import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Capture, createEngine, type Engine, type EngineOptions, type Tensor } from '../../../ts/engine/index.js';

const test = suite('capture');

const floats = async (t: Tensor): Promise<number[]> => Array.from(await t.read(), Number);
const f32 = (...values: number[]): Float32Array => Float32Array.from(values);
const message = (p: Promise<unknown>): Promise<string> => p.then(String, (e: Error) => `${e.name}: ${e.message}`);
const using = async (options: EngineOptions, work: (e: Engine) => Promise<void>): Promise<void> => {
  const engine = await createEngine(options);
  try {
    await work(engine);
  } finally {
    if (!engine.closed) await engine.close();
  }
};

// Two layers and a sum, with temporaries of the same size.
const net = (e: Engine, x: Tensor, w: Tensor): Tensor => {
  let y = e.ops.matmul(x, w);
  for (let i = 1; i < 5; i++) {
    const before = y;
    y = e.scope(() => e.ops.binary(e.ops.unary(before, { fn: 'tanh' }), e.ops.affine(before, { mul: i }), { fn: 'add' }));
    before.dispose();
  }
  return y;
};

test('a replay computes what the calls would, on inputs that have changed', () =>
  using({ threads: 2 }, async (e) => {
    const w = e.tensor(f32(0.5, -1, 2, 0.25), [1, 2, 2]);
    const x = e.tensor(f32(1, 2, 3, 4), [1, 2, 2]);
    const capture = e.capture(() => net(e, x, w));
    const eager = (): Promise<number[]> => floats(e.scope(() => net(e, x, w)));
    assert.equal(await floats(capture.outputs), await eager());
    for (let i = 0; i < 20; i++) {
      x.write(f32(i, -i, 0.1 * i, 1));
      const same = capture.outputs;
      capture.replay();
      assert.is(capture.outputs, same);
      assert.equal(await floats(capture.outputs), await eager());
    }
    w.write(f32(1, 0, 0, 1));
    capture.replay();
    assert.equal(await floats(capture.outputs), await eager());
    capture.dispose();
  }));

test('calls that work in place change their tensors once at first and once per replay', () =>
  using({ threads: 1 }, async (e) => {
    const sum = e.tensor(f32(0, 0), [2]);
    const step = e.tensor(f32(1, 10), [2]);
    using capture = e.capture(() => {
      e.ops.accumulate(sum, step);
    });
    assert.is(capture.outputs, undefined);
    assert.equal(await floats(sum), [1, 10]);
    for (let i = 0; i < 3; i++) capture.replay();
    step.write(f32(100, 0));
    capture.replay();
    assert.equal(await floats(sum), [104, 40]);
  }));

test('tensors made inside from data are constants; views and several outputs work', () =>
  using({ threads: 1 }, async (e) => {
    const x = e.tensor(f32(1, 2, 3, 4), [4]);
    const capture = e.capture(() => {
      const offset = e.tensor(f32(10, 20), [2]);
      const tail = e.view(x, 2, [2]);
      const sum = e.ops.binary(tail, offset, { fn: 'add' });
      return { sum, twice: [e.ops.affine(sum, { mul: 2 })] };
    });
    for (let i = 0; i < 5; i++) {
      x.write(f32(0, 0, i, -i));
      e.scope(() => net(e, e.ops.fill({ shape: [1, 2, 2], value: 7 }), e.ops.fill({ shape: [1, 2, 2], value: 7 })));
      capture.replay();
      assert.equal(await floats(capture.outputs.sum), [10 + i, 20 - i]);
      assert.equal(await floats(capture.outputs.twice[0]!), [20 + 2 * i, 40 - 2 * i]);
    }
    capture.dispose();
  }));

test('a constant made after temporaries lies where no replay writes', () =>
  using({ threads: 1 }, async (e) => {
    const x = e.tensor(f32(1, 2), [2]);
    const capture = e.capture(() => {
      let y = e.ops.affine(x, { mul: 1 });
      for (let i = 0; i < 4; i++) {
        const before = y;
        y = e.ops.affine(before, { add: 1 });
        before.dispose();
      }
      const constant = e.tensor(f32(10, 20), [2]);
      const sum = e.ops.binary(y, constant, { fn: 'add' });
      constant.dispose();
      return e.ops.affine(sum, { mul: 2 });
    });
    for (let i = 0; i < 3; i++) {
      assert.equal(await floats(capture.outputs), [2 * (15 + i), 2 * (26 + i)]);
      x.write(f32(2 + i, 3 + i));
      capture.replay();
    }
    capture.outputs.dispose();
    capture.dispose();
  }));

test('memory is stable over 1000 replays; dispose frees all of it', () =>
  using({ threads: 1, maxCachedBytes: 0 }, async (e) => {
    const w = e.tensor(new Float32Array(64 * 64).fill(0.01), [1, 64, 64]);
    const x = e.tensor(new Float32Array(64 * 64).fill(1), [1, 64, 64]);
    await e.flush();
    const before = e.memory();
    const capture = e.capture(() => net(e, x, w));
    await e.flush();
    const held = e.memory();
    assert.is(held.tensors, before.tensors + 1);
    // Thirteen calls, but temporaries share their memory.
    assert.ok(held.liveBytes - before.liveBytes <= 5 * 64 * 64 * 4, String(held.liveBytes - before.liveBytes));
    for (let i = 0; i < 1000; i++) {
      capture.replay();
      if (i % 100 === 0) await e.throttle();
    }
    await e.flush();
    assert.equal([e.memory().liveBytes, e.memory().poolBytes], [held.liveBytes, held.poolBytes]);
    const last = await floats(capture.outputs);
    capture.dispose();
    capture.dispose();
    await e.flush();
    // The output is still there.
    assert.equal(await floats(capture.outputs), last);
    assert.ok(e.memory().liveBytes < held.liveBytes);
    capture.outputs.dispose();
    await e.flush();
    assert.equal([e.memory().liveBytes, e.memory().poolBytes], [before.liveBytes, before.poolBytes]);
    assert.throws(() => capture.replay(), /replay: the capture is disposed/);
  }));

test('an output disposed between replays stays reserved until the capture is disposed', () =>
  using({ threads: 1, maxCachedBytes: 0 }, async (e) => {
    const x = e.tensor(f32(1, 2), [2]);
    await e.flush();
    const { liveBytes } = e.memory();
    const capture = e.capture(() => e.ops.affine(x, { mul: 3 }));
    capture.outputs.dispose();
    const other = e.ops.fill({ shape: [2], value: 5 });
    capture.replay();
    assert.equal(await floats(other), [5, 5]);
    other.dispose();
    capture.dispose();
    await e.flush();
    assert.is(e.memory().liveBytes, liveBytes);
  }));

test('a capture inside a scope: the scope takes the outputs, the capture stays', () =>
  using({ threads: 1 }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    const sum = e.tensor(f32(0), [1]);
    let capture: Capture<Tensor> | undefined;
    e.scope(() => {
      capture = e.capture(() => {
        const y = e.scope(() => e.ops.affine(e.ops.affine(x, { mul: 2 }), { add: 1 }));
        e.ops.accumulate(sum, y);
        return y;
      });
    });
    assert.ok(capture!.outputs.disposed);
    capture!.replay();
    x.write(f32(5));
    capture!.replay();
    assert.equal(await floats(sum), [3 + 3 + 11]);
    const scope = e.openScope();
    scope.run(() => capture!.replay());
    scope.close();
    assert.equal(await floats(sum), [28]);
    capture![Symbol.dispose]();
  }));

test('what a capture cannot hold is refused at the call, and leaves nothing behind', () =>
  using({ threads: 1 }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    await e.flush();
    const { liveBytes, tensors } = e.memory();
    const refused = (pattern: RegExp, fn: () => unknown): void => {
      assert.throws(() => e.capture(fn), pattern);
    };
    refused(/capture: the function returned a promise/, async () => e.ops.affine(x));
    refused(/capture: not inside the function of a capture/, () => e.capture(() => e.ops.affine(x)));
    refused(/write: not inside/, () => x.write(f32(2)));
    refused(/a mistake of the caller/, () => {
      e.ops.affine(x);
      throw new Error('a mistake of the caller');
    });
    refused(/\[matmul\]/, () => e.ops.matmul(e.ops.affine(x), x));
    assert.throws(() => e.capture(3 as never), /capture: fn/);
    const inner: Promise<string>[] = [];
    using first = e.capture(() => {
      inner.push(message(x.read()), message(e.flush()), message(e.throttle()));
    });
    refused(/replay: not inside/, () => first.replay());
    for (const text of await Promise.all(inner)) assert.match(text, /ArgumentError: (read|flush|throttle): not inside the function/);
    await e.flush();
    assert.equal([e.memory().liveBytes, e.memory().tensors], [liveBytes, tensors]);
    assert.equal(await floats(e.ops.affine(x, { add: 1 })), [2]);
    const y = e.ops.affine(x);
    const capture = e.capture(() => e.ops.affine(y));
    y.dispose();
    assert.throws(() => capture.replay(), /replay: the capture reads a tensor f32\[1\] that is disposed/);
    capture.dispose();
    const after = e.capture(() => e.ops.affine(x));
    await e.close();
    assert.throws(() => after.replay(), /closed/);
    after.dispose();
  }));

test('an op that fails while it is recorded fails every replay with the same error', () =>
  using({ device: 'null', fault: { failCommand: 2 } }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    const capture = e.capture(() => e.ops.affine(e.ops.affine(e.ops.affine(x))));
    const first = await message(capture.outputs.read());
    assert.match(first, /\[affine\] injected fault at command 2/);
    capture.replay();
    assert.is(await message(capture.outputs.read()), first);
    assert.is(await message(e.ops.affine(x).read()).then((s) => s.includes('Error')), false);
    capture.dispose();
  }));

for (const graphs of [0, 1]) {
  const how = graphs ? 'a graph' : 'single calls';
  test(`a fault in a replay as ${how} poisons the outputs; the next replay heals them`, () =>
    using({ device: 'null', fault: graphs ? { graphs, failLaunch: 2 } : { failCommand: 5 } }, async (e) => {
      const x = e.tensor(f32(1), [1]);
      const capture = e.capture(() => {
        const y = e.ops.affine(x);
        return [y, e.ops.unary(y, { fn: 'neg' })];
      });
      const good = await floats(capture.outputs[1]!);
      capture.replay();
      capture.replay();
      for (const t of capture.outputs) assert.match(await message(t.read()), /injected fault/);
      assert.match(await message(e.ops.affine(capture.outputs[0]!).read()), /injected fault/);
      capture.replay();
      assert.equal(await floats(capture.outputs[1]!), good);
      assert.is(await message(e.flush()), 'undefined');
    }));

  test(`replays as ${how} keep the order of the program`, async () => {
    // The null device leaves a digest of the history in every tensor: the same calls in the same order, the same digest.
    const history = async (captured: boolean): Promise<number[]> => {
      const e = await createEngine({ device: 'null', fault: { graphs, asyncCopies: 1 } });
      const x = e.tensor(f32(1, 2), [2]);
      const sum = e.tensor(f32(0, 0), [2]);
      const body = (): void =>
        e.scope(() => {
          e.ops.accumulate(sum, e.ops.affine(e.ops.unary(x, { fn: 'neg' })));
          e.ops.accumulate(x, sum);
        });
      const capture = captured ? e.capture(body) : undefined;
      if (!captured) body();
      const seen: number[] = [];
      for (let i = 0; i < 6; i++) {
        if (i === 3) x.write(f32(9, 9));
        if (capture) capture.replay();
        else body();
        seen.push(new Uint32Array((await sum.read()).slice().buffer)[0]!);
      }
      if (captured) assert.equal(e.stats().replays, graphs ? { graph: 6, calls: 0 } : { graph: 0, calls: 6 });
      await e.close();
      return seen;
    };
    const [a, b] = [await history(true), await history(false)];
    assert.equal(a, b);
    assert.is(new Set(a).size, 6);
  });
}

test('a cancelled replay is an AbortError of its outputs; the next one heals them', () =>
  using({ device: 'null', fault: { delayUs: 2000 } }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    const capture = e.capture(() => e.ops.affine(x));
    const good = await floats(capture.outputs);
    const abort = new AbortController();
    const scope = e.openScope({ signal: abort.signal });
    for (let i = 0; i < 20; i++) scope.run(() => capture.replay());
    abort.abort();
    assert.match(await message(capture.outputs.read()), /AbortError/);
    scope.close();
    capture.replay();
    assert.equal(await floats(capture.outputs), good);
  }));

test('a poisoned input poisons the outputs and nothing else', () =>
  using({ device: 'null', fault: { failCommand: 4 } }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    const other = e.capture(() => e.ops.affine(e.tensor(f32(2), [1])));
    const sum = e.tensor(f32(1), [1]);
    const capture = e.capture(() => {
      e.ops.accumulate(sum, x);
      return e.ops.affine(x);
    });
    e.ops.accumulate(x, e.tensor(f32(1), [1]));
    capture.replay();
    other.replay();
    for (const t of [x, sum, capture.outputs]) assert.match(await message(t.read()), /\[accumulate\] injected fault at command 4/);
    assert.not.match(await message(other.outputs.read()), /Error/);
  }));

test('write: dtype, size and what may not be written', () =>
  using({ threads: 1 }, async (e) => {
    const x = e.tensor(f32(1, 2), [2]);
    const half = e.tensor(Uint16Array.of(0x3c00), [1], 'f16');
    const before = e.ops.affine(x, { mul: 2 });
    x.write(f32(7, 8));
    assert.equal(await floats(before), [2, 4]);
    assert.equal(await floats(x), [7, 8]);
    half.write(Uint16Array.of(0x4000));
    assert.equal(await floats(half), [0x4000]);
    e.view(x, 1, [1]).write(f32(9));
    assert.equal(await floats(x), [7, 9]);
    const shared = new Float32Array(new SharedArrayBuffer(8));
    shared.set([1, 3]);
    x.write(shared);
    assert.equal(await floats(x), [1, 3]);
    assert.throws(() => x.write(f32(1)), /write: f32\[2\] has 2 elements, data has 1/);
    assert.throws(() => x.write(Int32Array.of(1, 2)), /write: dtype/);
    assert.throws(() => x.write([1, 2] as never), /write: data/);
    const file = e.fromFile('package.json', 0, [4], 'u8');
    assert.throws(() => file.write(new Uint8Array(4)), /write: the tensor u8\[4\] is a range of a file/);
    assert.throws(() => e.view(file, 1, [2]).write(new Uint8Array(2)), /range of a file/);
    x.dispose();
    assert.throws(() => x.write(f32(1, 2)), /disposed/);
    assert.is(await message(e.flush()), 'undefined');
  }));

test('a write that fails poisons the tensor', () =>
  using({ device: 'null', fault: { failUpload: 2 } }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    const before = e.ops.affine(x);
    x.write(f32(2));
    assert.match(await message(e.ops.affine(x).read()), /\[write\] injected fault at upload 2/);
    assert.not.match(await message(before.read()), /Error/);
  }));

test('tf32 is refused where there is none', async () => {
  for (const device of ['cpu', 'null'] as const) {
    assert.match(
      await message(createEngine({ device, tf32: true })),
      /UnsupportedError: tf32 is a format of the device cuda, the device is/,
    );
  }
  assert.match(await message(createEngine({ tf32: 1 as never })), /tf32/);
});

test('a capture that nobody disposes is released when it is collected', async () => {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) return; // node --expose-gc
  await using({ threads: 1, maxCachedBytes: 0 }, async (e) => {
    const x = e.tensor(f32(1), [1]);
    await e.flush();
    const { liveBytes } = e.memory();
    e.capture(() => e.ops.affine(x)).outputs.dispose();
    for (let i = 0; i < 50 && e.memory().liveBytes > liveBytes; i++) {
      gc();
      await new Promise((r) => setTimeout(r, 10));
      await e.flush();
    }
    assert.is(e.memory().liveBytes, liveBytes);
  });
});

test.run();
