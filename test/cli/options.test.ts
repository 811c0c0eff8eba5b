import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { bytes, duration } from '../../ts/cli/context.js';
import { byVersion } from '../../ts/cli/doctor-native.js';
import { integer, labels, number, oneOf, patchNums, readClassNames } from '../../ts/cli/options.js';
import { ArgumentError } from '../../ts/core/errors.js';
import { folder } from './support.js';

const refuses = (fn: () => unknown, option: string, given: string): void => {
  assert.throws(
    fn,
    (e: unknown) => e instanceof ArgumentError && e.message.includes(option) && e.message.includes(given) && /accepted/.test(e.message),
  );
};

test('labels are lists, repetitions, and both', () => {
  const parse = labels('--labels');
  assert.equal(parse('1,2,3'), [1, 2, 3]);
  assert.equal(parse('207x4'), [207, 207, 207, 207]);
  assert.equal(parse('1, 5x2,0'), [1, 5, 5, 0]);
  for (const bad of ['', '1,,2', '1x0', '-1', 'x4', '1.5', 'dog', '1x99999999']) refuses(() => parse(bad), '--labels', bad);
});

test('numbers are checked for form and range', () => {
  assert.is(integer('--seed', 0)('12'), 12);
  for (const bad of ['', '1.5', '1e3', 'abc', '-1', '99999999999999999999']) refuses(() => integer('--seed', 0)(bad), '--seed', bad);
  assert.is(number('--cfg', 0, 100)('1.5'), 1.5);
  for (const bad of ['', 'nan', 'NaN', '-0.1', '101', 'Infinity']) refuses(() => number('--cfg', 0, 100)(bad), '--cfg', bad);
});

test('words and patch sizes', () => {
  assert.is(oneOf('--dtype', ['f32', 'f16'])('f16'), 'f16');
  refuses(() => oneOf('--dtype', ['f32', 'f16'])('f8'), '--dtype', 'f8');
  assert.equal(patchNums('--patch-nums')('1_2_3'), [1, 2, 3]);
  assert.equal(patchNums('--patch-nums')('1,4,16'), [1, 4, 16]);
  for (const bad of ['', '1_1', '3_2', '0_1', '1_x']) refuses(() => patchNums('--patch-nums')(bad), '--patch-nums', bad);
});

test('class names come from JSON arrays, JSON objects and lines', async () => {
  const dir = folder();
  const write = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };
  assert.is((await readClassNames(write('a.json', '["tench", "goldfish"]')))(1), 'goldfish');
  assert.is((await readClassNames(write('b.json', '{"1": ["n01443537", "goldfish"]}')))(1), 'goldfish');
  const lines = await readClassNames(write('c.txt', 'tench\r\ngoldfish\r\n'));
  assert.is(lines(0), 'tench');
  assert.is(lines(7), undefined);
  for (const file of [write('d.json', '{broken'), join(dir, 'absent')]) {
    try {
      await readClassNames(file);
      assert.unreachable();
    } catch (e) {
      assert.instance(e, ArgumentError);
      assert.match((e as Error).message, /--class-names/);
    }
  }
});

test('sizes, times and versions as people read them', () => {
  assert.equal([0, 1023, 1536, 5 * 2 ** 30].map(bytes), ['0 B', '1023 B', '1.50 KiB', '5.00 GiB']);
  assert.equal([0.005, 0.25, 3.14, 125].map(duration), ['5.0 ms', '250 ms', '3.1 s', '2 min 5 s']);
  assert.equal(['2.9', '2.36', '2.4.1'].sort(byVersion), ['2.4.1', '2.9', '2.36']);
});

test.run();
