import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint, writeSafetensors } from '../../../ts/checkpoint/index.js';
import { CheckpointError } from '../../../ts/core/errors.js';
import { numbersOf } from './numbers.js';
import { refusal } from './refusal.js';
import { temporaryFolder } from './temporary.js';

const test = suite('safetensors');
const folder = temporaryFolder();

function file(name: string, header: string, data: Uint8Array = new Uint8Array(0)): string {
  const json = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const path = join(folder, name);
  writeFileSync(path, Buffer.concat([length, json, data]));
  return path;
}

const entry = (dtype: string, shape: string, from: number, to: number): string =>
  `{"dtype":"${dtype}","shape":${shape},"data_offsets":[${from},${to}]}`;

test('reads names, shapes, dtypes, metadata and bytes, data not aligned', async () => {
  const data = Buffer.concat([
    Buffer.from([7]),
    Buffer.from(new Float32Array([1.5, -2]).buffer),
    Buffer.from(new BigInt64Array([-1n]).buffer),
  ]);
  const path = file(
    'ok.safetensors',
    `{"__metadata__":{"__proto__":"x"},"u":${entry('U8', '[1]', 0, 1)},"f":${entry('F32', '[1,2]', 1, 9)},"s":${entry('I64', '[]', 9, 17)}}`,
    data,
  );
  const checkpoint = await openCheckpoint(path);
  assert.equal(checkpoint.keys(), ['u', 'f', 's']);
  assert.equal(checkpoint.info('f'), { dtype: 'f32', shape: [1, 2] });
  assert.equal(numbersOf(await checkpoint.bytes('f'), 'f32'), [1.5, -2]);
  assert.equal(numbersOf(await checkpoint.bytes('s'), 'i64'), [-1n]);
  assert.equal(Object.entries(checkpoint.metadata), [['__proto__', 'x']]);
  assert.equal(({} as Record<string, unknown>).x, undefined);
});

test('refuses what the format forbids, naming file and key or offset', async () => {
  const four = new Uint8Array(4);
  const cases: [string, string, Uint8Array, RegExp][] = [
    ['hole', `{"a":${entry('U8', '[2]', 0, 2)},"b":${entry('U8', '[1]', 3, 4)}}`, four, /key "b".*unused bytes/],
    ['overlap', `{"a":${entry('U8', '[3]', 0, 3)},"b":${entry('U8', '[2]', 2, 4)}}`, four, /key "b".*overlap/],
    ['tail', `{"a":${entry('U8', '[3]', 0, 3)}}`, four, /1 bytes after the last tensor/],
    ['short', `{"a":${entry('F32', '[2]', 0, 8)}}`, four, /key "a".*do not lie within the 4 bytes/],
    ['shape', `{"a":${entry('F32', '[2]', 0, 4)}}`, four, /needs 8 bytes, data_offsets give 4/],
    ['dtype', `{"a":${entry('F12', '[1]', 0, 4)}}`, four, /key "a".*unknown dtype "F12"/],
    ['twice', `{"a":${entry('U8', '[2]', 0, 2)},"\\u0061":${entry('U8', '[2]', 2, 4)}}`, four, /byte \d+.*occurs twice/],
    ['rank', `{"a":${entry('U8', `[${new Array(65).fill(1)}]`, 0, 1)}}`, new Uint8Array(1), /65 dimensions, at most 64/],
  ];
  for (const [name, header, data, message] of cases) {
    const path = file(`${name}.safetensors`, header, data);
    const error = await refusal(openCheckpoint(path));
    assert.is(error.file, path);
    assert.match(error.message, message);
  }
});

test('a header longer than the file is refused before it is read', async () => {
  const path = join(folder, 'long.safetensors');
  writeFileSync(path, Buffer.from('ffffffffffffff7f7b7d', 'hex'));
  assert.match((await refusal(openCheckpoint(path))).message, /header claims 9223372036854775807 bytes, the file has 10/);
});

test('a long string in the header needs no stack', async () => {
  const name = 'n'.repeat(4e6);
  const path = file('long-name.safetensors', `{"${name}":${entry('U8', '[1]', 0, 1)}}`, new Uint8Array(1));
  assert.equal((await openCheckpoint(path)).keys()[0]!.length, 4e6);
});

test('writes what it reads: every dtype, order by alignment, metadata, aligned data', async () => {
  const path = join(folder, 'written.safetensors');
  const tensors = {
    u: { dtype: 'u8' as const, shape: [3], data: Uint8Array.of(1, 2, 3) },
    'é.weight': { dtype: 'f32' as const, shape: [2, 1], data: Float32Array.of(0.1, -0) },
    h: { dtype: 'bf16' as const, shape: [1], data: () => Promise.resolve(Uint16Array.of(0x3f80)) },
    l: { dtype: 'i64' as const, shape: [], data: BigInt64Array.of(-5n) },
    empty: { dtype: 'f16' as const, shape: [0, 4], data: new Uint16Array(0) },
  };
  await writeSafetensors(path, tensors, { format: 'pt', note: 'a "b"' });
  const checkpoint = await openCheckpoint(path);
  assert.equal(checkpoint.keys(), ['l', 'é.weight', 'empty', 'h', 'u']);
  assert.equal({ ...checkpoint.metadata }, { format: 'pt', note: 'a "b"' });
  assert.equal(numbersOf(await checkpoint.bytes('é.weight'), 'f32'), [Math.fround(0.1), -0]);
  assert.equal(numbersOf(await checkpoint.bytes('l'), 'i64'), [-5n]);
  assert.equal(checkpoint.info('empty').shape, [0, 4]);
});

test('a file that is replaced after opening is noticed', async () => {
  const path = file('replaced.safetensors', `{"a":${entry('U8', '[1]', 0, 1)}}`, Uint8Array.of(1));
  const checkpoint = await openCheckpoint(path);
  file('replaced.safetensors', `{"a":${entry('U8', '[2]', 0, 2)}}`, Uint8Array.of(1, 2));
  assert.match((await refusal(checkpoint.bytes('a'))).message, /changed or replaced/);
});

test('missing files, folders and unknown keys are CheckpointErrors', async () => {
  assert.match((await refusal(openCheckpoint(join(folder, 'nowhere')))).message, /no such file/);
  assert.match((await refusal(openCheckpoint(folder))).message, /folder/);
  const checkpoint = await openCheckpoint(file('one.safetensors', `{"a":${entry('U8', '[1]', 0, 1)}}`, Uint8Array.of(1)));
  assert.throws(
    () => checkpoint.info('b'),
    (error: unknown) => error instanceof CheckpointError && error.key === 'b',
  );
  checkpoint.close();
  assert.match((await refusal(checkpoint.bytes('a'))).message, /closed/);
});

test.run();
