import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine } from '../../../ts/engine/index.js';

const test = suite('mapped files');
const folder = mkdtempSync(join(tmpdir(), 'nextscale-map-'));
const path = join(folder, 'w.bin');
const values = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i));
let engine: Engine;

test.before.each(async () => {
  writeFileSync(path, new Uint8Array(values.buffer));
  engine = await createEngine({ threads: 1 });
});
test.after.each(() => engine.close());
test.after(() => rmSync(folder, { recursive: true }));

const fails = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'ok',
    (e: Error & { code: string }) => `${e.code} ${e.message}`,
  );

test('an aligned range is mapped, not copied', async () => {
  const t = engine.fromFile(path, 400, [49, 100], 'f32');
  assert.equal(await t.read(), values.slice(100));
  assert.is(engine.memory().mappedBytes, 19600);
  assert.is(engine.memory().liveBytes, 0);
  t.dispose();
  await engine.flush();
  assert.is(engine.memory().mappedBytes, 0);
});

test('a range that is not aligned is copied', async () => {
  const t = engine.fromFile(path, 1, [4], 'f32');
  const want = new Float32Array(new Uint8Array(values.buffer).slice(1, 17).buffer);
  assert.equal(await t.read(), want);
  assert.is(engine.memory().mappedBytes, 0);
});

test('changing a mapped tensor in place leaves the file alone', async () => {
  const t = engine.fromFile(path, 0, [5000], 'f32');
  engine.ops.accumulate(t, t);
  const changed = await t.read();
  assert.ok(Math.abs((changed[7] as number) - 2 * (values[7] as number)) < 1e-6);
  assert.equal(await engine.fromFile(path, 0, [5000], 'f32').read(), values);
});

test('a FIFO that nobody writes to does not hold the engine', async () => {
  const fifo = join(folder, 'fifo');
  execFileSync('mkfifo', [fifo]);
  assert.match(await fails(engine.fromFile(fifo, 0, [2], 'f32').read()), /^ERR_IO .*not a regular file/);
  assert.match(await fails(engine.tensor(new Float32Array(2), [2]).read()), /^ok$/);
});

test('missing, short, shrunk and odd files are late errors, no crash', async () => {
  assert.match(await fails(engine.fromFile(join(folder, 'no.bin'), 0, [2], 'f32').read()), /^ERR_IO .*cannot open .*No such file/);
  assert.match(await fails(engine.fromFile(path, 19_996, [2], 'f32').read()), /^ERR_IO .*has 20000 bytes, 8 wanted at offset 19996/);
  assert.match(await fails(engine.fromFile(folder, 0, [2], 'f32').read()), /^ERR_IO .*not a regular file/);
  const long = `${'x'.repeat(300)}/no.bin`;
  assert.match(await fails(engine.fromFile(long, 0, [2], 'f32').read()), /cannot open \.\.\.x+\/no\.bin: File name too long/);
  assert.throws(() => engine.fromFile(`${path}\0.bin`, 0, [2], 'f32'), /a path without a zero character/);
  const t = engine.fromFile(path, 0, [5000], 'f32');
  assert.is(await fails(t.read()), 'ok');
  truncateSync(path, 100);
  assert.match(await fails(engine.ops.affine(t).read()), /^ERR_IO .*has shrunk to 100 bytes, 20000 are needed/);
  assert.match(await fails(t.read()), /^ERR_IO /);
  assert.is(await fails(engine.flush()), 'ok');
});

test('arguments are checked', () => {
  assert.throws(() => engine.fromFile('', 0, [2], 'f32'), /path is ""/);
  assert.throws(() => engine.fromFile(path, -1, [2], 'f32'), /byteOffset is -1/);
  assert.throws(() => engine.fromFile(path, 0, [2], 'f64' as 'f32'), /dtype is "f64"/);
});

test.run();
