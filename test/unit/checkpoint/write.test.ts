import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writeFileAtomic, writePth, writeSafetensors, writeWhole } from '../../../ts/checkpoint/index.js';
import { AbortError, ArgumentError } from '../../../ts/core/errors.js';
import { createEngine, type Engine } from '../../../ts/engine/index.js';
import { temporaryFolder } from './temporary.js';

const test = suite<{ engine: Engine }>('writing and loading');
const root = temporaryFolder();

function fine(): never {
  return assert.unreachable('expected a rejection') as never;
}

function folder(name: string): string {
  const path = join(root, name);
  mkdirSync(path);
  return path;
}

test.before(async (context) => {
  context.engine = await createEngine({ threads: 1 });
});
test.after(({ engine }) => engine.close());

test('a write that fails leaves the old file and nothing else', async () => {
  const dir = folder('fails');
  const path = join(dir, 'a.bin');
  await writeWhole(path, 'old');
  const failing = writeFileAtomic(path, async (file) => {
    await file.append(Uint8Array.of(1));
    throw new Error('disk on fire');
  });
  await failing.then(fine, (error: Error) => assert.is(error.message, 'disk on fire'));
  assert.is(readFileSync(path, 'utf8'), 'old');
  assert.equal(readdirSync(dir), ['a.bin']);
});

test('a source that gives the wrong number of bytes fails the write', async () => {
  const dir = folder('wrong');
  const wrong = { dtype: 'f32' as const, shape: [2], data: new Uint8Array(4) };
  await writePth(join(dir, 'x.pth'), { wrong }).then(fine, (error: Error) => assert.match(error.message, /8 bytes, its source gave 4/));
  await writeSafetensors(join(dir, 'x.safetensors'), { wrong }).then(fine, (error: Error) =>
    assert.match(error.message, /wrong: .*8 bytes/),
  );
  assert.equal(readdirSync(dir), []);
});

test('aborting leaves nothing behind', async () => {
  const dir = folder('aborts');
  const controller = new AbortController();
  const data = (): Uint8Array => {
    controller.abort();
    return new Uint8Array(4);
  };
  const aborted = writeSafetensors(join(dir, 'x'), { a: { dtype: 'u8', shape: [4], data } }, undefined, { signal: controller.signal });
  await aborted.then(fine, (error: unknown) => assert.instance(error, AbortError));
  assert.equal(readdirSync(dir), []);
});

test('a symbolic link is followed, the mode of the old file kept, missing folders made on request', async () => {
  const dir = folder('links');
  writeFileSync(join(dir, 'real'), 'old', { mode: 0o600 });
  symlinkSync('real', join(dir, 'link'));
  await writeWhole(join(dir, 'link'), 'new');
  assert.is(readFileSync(join(dir, 'real'), 'utf8'), 'new');
  assert.is(statSync(join(dir, 'real')).mode & 0o777, 0o600);
  await writeWhole(join(dir, 'a', 'b'), 'x', { mkdirs: true });
  await writeWhole(join(dir, 'c', 'd'), 'x').then(fine, (error) => {
    assert.instance(error, ArgumentError);
    assert.match(error.message, /d cannot be written: there is no folder .*c$/);
  });
});

test('values that no checkpoint holds are ArgumentErrors', async () => {
  const circle: unknown[] = [];
  circle.push(circle);
  for (const bad of [undefined, () => 1, Symbol('x'), new Date(), circle, { dtype: 'u16', shape: [1], data: new Uint16Array(1) }]) {
    await writePth(join(root, 'bad.pth'), { bad } as never).then(fine, (error: unknown) => assert.instance(error, ArgumentError));
  }
});

test('engine tensors go to both formats and come back', async ({ engine }) => {
  const values = Float32Array.from({ length: 100 }, (_, i) => i / 7);
  using a = engine.tensor(values, [4, 25]);
  using half = engine.ops.cast(a, { dtype: 'f16' });
  using brain = engine.ops.cast(a, { dtype: 'bf16' });
  using index = engine.tensor(Int32Array.of(-1, 2), [2]);
  const tensors = { a, half, brain, index };
  await writePth(join(root, 'e.pth'), tensors);
  await writeSafetensors(join(root, 'e.safetensors'), tensors);
  for (const name of ['e.pth', 'e.safetensors']) {
    const checkpoint = await openCheckpoint(join(root, name));
    for (const [key, tensor] of Object.entries(tensors)) {
      using loaded = checkpoint.load(engine, key);
      assert.is(loaded.dtype, tensor.dtype);
      assert.equal(loaded.shape, tensor.shape);
      assert.equal(await loaded.read(), await tensor.read());
    }
    using wide = checkpoint.load(engine, 'half', { dtype: 'f32' });
    using want = engine.ops.cast(half, { dtype: 'f32' });
    assert.equal(await wide.read(), await want.read());
  }
});

test('dtypes the engine lacks are converted, and refused where they do not fit', async ({ engine }) => {
  const path = join(root, 'types.safetensors');
  await writeSafetensors(path, {
    i64: { dtype: 'i64', shape: [2], data: BigInt64Array.of(-5n, 2147483647n) },
    big: { dtype: 'i64', shape: [2], data: BigInt64Array.of(0n, 2147483648n) },
    f64: { dtype: 'f64', shape: [], data: Float64Array.of(0.1) },
    bool: { dtype: 'bool', shape: [3], data: Uint8Array.of(0, 1, 255) },
    i16: { dtype: 'i16', shape: [1], data: Int16Array.of(-300) },
    f8: { dtype: 'f8e4m3', shape: [1], data: Uint8Array.of(1) },
    none: { dtype: 'f32', shape: [0], data: new Float32Array(0) },
  });
  const checkpoint = await openCheckpoint(path);
  const read = async (key: string): Promise<number[]> => {
    using tensor = checkpoint.load(engine, key);
    return [...(await tensor.read())];
  };
  assert.equal(await read('i64'), [-5, 2147483647]);
  assert.equal(await read('f64'), [Math.fround(0.1)]);
  assert.equal(await read('bool'), [0, 1, 1]);
  assert.equal(await read('i16'), [-300]);
  assert.throws(() => checkpoint.load(engine, 'big'), /key "big": element 1 is 2147483648, beyond the range of i32/);
  assert.throws(() => checkpoint.load(engine, 'f8'), /f8e4m3 tensors cannot be loaded/);
  assert.throws(() => checkpoint.load(engine, 'none'), /has no elements/);
});

test.run();
