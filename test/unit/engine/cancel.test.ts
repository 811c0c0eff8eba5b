import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Tensor } from '../../../ts/engine/index.js';

const test = suite('cancel and back-pressure');

const name = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'ok',
    (e: Error) => e.name,
  );

test('an aborted scope cancels what is queued, and nothing else', async () => {
  const engine = await createEngine({ device: 'null', fault: { delayUs: 500 } });
  const control = new AbortController();
  const outside = engine.ops.fill({ shape: [4] });
  const scope = engine.openScope({ signal: control.signal });
  const last = scope.run(() => {
    let t: Tensor = engine.ops.affine(outside);
    for (let i = 0; i < 400; i++) t = engine.ops.affine(t);
    engine.ops.accumulate(outside, t);
    return t;
  });
  const read = name(last.read());
  const bystander = engine.ops.fill({ shape: [4] });
  control.abort();
  assert.throws(
    () => scope.run(() => 0),
    (e: Error) => e.name === 'AbortError',
  );
  assert.is(await read, 'AbortError');
  // The cancelled command would have changed it, so its value is unknown.
  assert.is(await name(outside.read()), 'AbortError');
  assert.is(await name(bystander.read()), 'ok');
  assert.is(await name(engine.flush()), 'ok', 'an abort is no late error');
  assert.ok((engine.stats().ops.affine?.count ?? 0) < 300, 'the queued commands did not run');
  scope.close();
  outside.dispose();
  bystander.dispose();
  await engine.flush();
  assert.is(engine.memory().liveBytes, 0, 'disposes execute even so');
  await engine.close();
});

test('an aborted read rejects at once', async () => {
  const engine = await createEngine({ device: 'null', fault: { delayUs: 500_000 } });
  const control = new AbortController();
  const t = engine.ops.fill({ shape: [4] });
  const read = name(t.read({ signal: control.signal }));
  control.abort();
  assert.is(await read, 'AbortError');
  assert.ok(engine.stats().inFlightCommands > 0, 'without waiting for the command');
  assert.is(await name(t.read({ signal: control.signal })), 'AbortError');
  assert.is(await name(t.read({ signal: 3 as unknown as AbortSignal })), 'ArgumentError');
  assert.is(await name(t.read()), 'ok');
  await engine.close();
});

test('throttle waits until half the bound', async () => {
  const engine = await createEngine({ device: 'null', maxInFlightCommands: 100, fault: { delayUs: 300 } });
  const t = engine.ops.fill({ shape: [4] });
  for (let i = 0; i < 200; i++) engine.ops.accumulate(t, t);
  await engine.throttle();
  const { inFlightCommands } = engine.stats();
  assert.ok(inFlightCommands <= 50, `${inFlightCommands} in flight`);
  await engine.flush();
  await engine.throttle();
  await engine.close();
});

test('too many queued commands are refused by name, and the engine works on', async () => {
  const engine = await createEngine({ device: 'null', maxInFlightCommands: 100, fault: { delayUs: 500 } });
  const t = engine.ops.fill({ shape: [4] });
  let issued = 0;
  try {
    for (; issued < 1000; issued++) engine.ops.accumulate(t, t);
    assert.unreachable();
  } catch (e) {
    assert.is((e as Error).name, 'BusyError');
    assert.match((e as Error).message, /await engine\.throttle\(\) or raise maxInFlightCommands \(100\)/);
  }
  assert.ok(issued >= 390 && issued <= 500, `${issued} were taken`);
  await engine.throttle();
  engine.ops.accumulate(t, t);
  await engine.flush();
  assert.is(engine.stats().ops.accumulate?.count, issued + 1);
  await engine.close();
});

test('too many queued bytes are refused by name', async () => {
  const engine = await createEngine({ device: 'null', maxInFlightBytes: 1 << 16, fault: { delayUs: 20_000 } });
  engine.ops.fill({ shape: [4] });
  const data = new Uint8Array(1 << 16);
  assert.throws(() => {
    for (let i = 0; i < 8; i++) engine.tensor(data, [data.length]);
  }, /raise maxInFlightBytes \(65536\)/);
  await engine.throttle();
  // One upload above the limit is possible while nothing else is queued.
  await engine.flush();
  const big = engine.tensor(new Uint8Array(1 << 20), [1 << 20]);
  assert.is((await big.read()).length, 1 << 20);
  await engine.close();
});

test('V8 is told about the memory: forgotten tensors make it collect by itself', async () => {
  const engine = await createEngine({ device: 'null' });
  let highest = 0;
  for (let i = 0; i < 300; i++) {
    engine.ops.fill({ shape: [1 << 24] });
    await engine.flush();
    await new Promise((r) => setImmediate(r));
    highest = Math.max(highest, engine.memory().tensors);
  }
  assert.ok(highest < 200, `${highest} tensors of 64 MiB were alive at once`);
  await engine.close();
});

test.run();
