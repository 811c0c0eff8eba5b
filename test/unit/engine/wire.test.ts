import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox } from '../../../ts/core/philox.js';
import type { Handle, NativeError } from '../../../ts/engine/addon.js';
import { loadAddon } from '../../../ts/engine/loader.js';
import { SlotIds } from '../../../ts/engine/slots.js';
import { OPS } from '../../../ts/gen/ops.js';

const test = suite('wire format');
const addon = loadAddon();
const late: NativeError[] = [];
let handle: Handle;

test.before.each(async () => {
  late.length = 0;
  handle = await addon.create('null', 0, 0, '', 100_000, 1e9, 2 ** 28, (e) => late.push(e));
});
test.after.each(() => addon.close(handle).catch(() => {}));

const submit = (...words: number[]): void => addon.submit(handle, Uint32Array.from(words), words.length);
const affine = (input: number[], output: number[], params = [0, 0, 0, 0]): number[] => {
  const body = [OPS.affine.id, 0, 1 | (1 << 8) | (params.length << 16), ...input, ...output, ...params];
  return [body.length + 1, ...body];
};
const f32x2 = [256, 2]; // dtype 0, one dim

function refused(pattern: RegExp, ...words: number[]): void {
  try {
    submit(...words);
  } catch (e) {
    assert.is((e as { code?: string }).code, 'MALFORMED');
    assert.match((e as Error).message, pattern);
    return;
  }
  assert.unreachable(`accepted ${words}`);
}

test('a batch that is not well formed is refused as a whole', () => {
  refused(/header is cut off/, 4, 1);
  refused(/length 9 does not fit/, 9, 1, 0, 0);
  refused(/length 3 does not fit/, 3, 1, 0, 0);
  refused(/op 9999 is unknown/, 4, 9999, 0, 0);
  refused(/op 4294967295 is unknown/, 4, 0xffffffff, 0, 0);
  refused(/too many inputs/, 4, 1, 0, 65);
  refused(/slot is cut off/, 5, 1, 0, 1, 0);
  refused(/slot 4194304 is out of range/, 6, 1, 0, 1, 1 << 22, 1);
  refused(/\[affine\] has a wrong number/, ...affine([0, 1], [1, 1, ...f32x2], [0, 0, 0]));
  refused(/\[affine\] input 0 is missing/, ...affine([0, 0], [1, 1, ...f32x2]));
  refused(/no slot/, ...affine([0, 1], [1, 0, ...f32x2]));
  refused(/bad dtype or rank/, ...affine([0, 1], [1, 1, 5, 2]));
  refused(/bad dtype or rank/, ...affine([0, 1], [1, 1, 7 << 8, 2]));
  refused(/impossible size/, ...affine([0, 1], [1, 1, 256, 0]));
  refused(/impossible size/, ...affine([0, 1], [1, 1, 6 << 8, ...Array(6).fill(0x7fffffff)]));
  refused(/parameters do not fill/, 5, 1, 0, 0, 0);
  refused(/parameter is out of range/, 10, OPS.unary.id, 0, 1 | (1 << 8) | (1 << 16), 0, 1, 1, 1, 0, 12);
  refused(/command 1 of the batch/, 4, 2, 1, 0, 4, 9999, 0, 0);
});

test('unknown slots are late errors of that command', async () => {
  submit(...affine([7, 1], [1, 1, ...f32x2]));
  const e = await addon.flush(handle).then(
    () => undefined,
    (r: NativeError) => r,
  );
  assert.match(e?.message ?? '', /input 0: slot 7 generation 1 is not live/);
  addon.upload(handle, 2, 1, 0, [2], new Float32Array(2));
  addon.upload(handle, 2, 2, 0, [2], new Float32Array(2));
  submit(...affine([2, 1], [2, 3, ...f32x2]));
  submit(6, 1, 0, 1, 9, 1);
  await addon.flush(handle).catch(() => {});
  assert.equal(
    late.map((l) => l.message),
    ['input 0: slot 7 generation 1 is not live', 'slot 2 is in use', 'output slot 2 is in use', 'slot 9 generation 1 is not live'],
  );
  await addon.read(handle, 2, 1, new Float32Array(2));
  const wrongSize = await addon.read(handle, 2, 1, new Float32Array(3)).then(
    () => 'ok',
    (r: NativeError) => r.message,
  );
  assert.match(wrongSize, /not live/);
});

test('random words never crash, and the engine works afterwards', async () => {
  const random = new Philox(5);
  let taken = 0;
  for (let i = 0; i < 3000; i++) {
    const words = Uint32Array.from({ length: 1 + random.below(40) }, () => (random.below(3) ? random.below(80) : random.next()));
    if (random.below(2)) words[0] = words.length;
    if (random.below(2)) words[1] = 64 + random.below(34);
    try {
      addon.submit(handle, words, words.length);
      taken++;
    } catch (e) {
      assert.is((e as { code?: string }).code, 'MALFORMED');
    }
  }
  // Valid commands with one word changed come much further.
  for (let i = 0; i < 3000; i++) {
    const words = Uint32Array.from(affine([random.below(20), 1], [random.below(20), 1, ...f32x2]));
    words[random.below(words.length)] = random.below(2) ? random.next() : random.below(300);
    try {
      addon.submit(handle, words, words.length);
      taken++;
    } catch (e) {
      assert.is((e as { code?: string }).code, 'MALFORMED');
    }
  }
  assert.ok(taken > 100, `${taken} batches were taken`);
  await addon.flush(handle).catch(() => {});
  addon.upload(handle, 5000, 1, 0, [2], new Float32Array(2));
  await addon.read(handle, 5000, 1, new Float32Array(2));
});

test('arguments of the addon itself', () => {
  const loose = addon as unknown as Record<string, (...a: unknown[]) => unknown>;
  for (const args of [
    [],
    [{}],
    [handle],
    [handle, 'x'],
    [handle, new Float32Array(2), 2],
    [handle, new Uint32Array(2), 3],
    [handle, new Uint32Array(2), -1],
  ]) {
    assert.throws(() => loose.submit?.(...args));
  }
  for (const args of [
    [handle, -1, 1, 0, [2], new Float32Array(2)],
    [handle, 0, 1, 9, [2], new Float32Array(2)],
    [handle, 0, 1, 0, [3], new Float32Array(2)],
    [handle, 0, 1, 0, [1, 1, 1, 1, 1, 1, 1], new Float32Array(1)],
    [handle, 0, 1, 0, [Number.NaN], new Float32Array(1)],
  ]) {
    assert.throws(() => loose.upload?.(...args));
  }
  assert.throws(() => loose.read?.(handle, 0, 1, [1]));
  assert.throws(() => loose.progress?.(handle, new Float64Array(1)));
  assert.throws(() => loose.create?.('tpu', 0, 0, '', 1, 1, () => {}));
});

test('slots are numbered anew after a release, and are bounded', () => {
  const ids = new SlotIds(2);
  const [a, b] = [ids.take(), ids.take()];
  assert.equal([a, b, ids.generation(a)], [0, 1, 1]);
  assert.throws(() => ids.take(), /2 tensors are alive/);
  ids.give(a);
  assert.equal([ids.take(), ids.generation(a)], [0, 2]);
});

test.run();
