import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groupKeys, matchKeys, openCheckpoint, writeSafetensors } from '../../../ts/checkpoint/index.js';
import { CheckpointError } from '../../../ts/core/errors.js';
import { temporaryFolder } from './temporary.js';

const test = suite('matchKeys');
const folder = temporaryFolder();

async function withKeys(keys: Record<string, number[]>): ReturnType<typeof openCheckpoint> {
  const path = join(folder, 'x.safetensors');
  const source = (shape: number[]) => ({ dtype: 'u8' as const, shape, data: new Uint8Array(shape.reduce((a, b) => a * b, 1)) });
  await writeSafetensors(path, Object.fromEntries(Object.entries(keys).map(([key, shape]) => [key, source(shape)])));
  return await openCheckpoint(path);
}

test('is silent where everything fits', async () => {
  const checkpoint = await withKeys({ a: [2], b: [1, 3], extra: [1] });
  matchKeys(
    new Map([
      ['a', [2]],
      ['b', [1, 3]],
    ]),
    checkpoint,
    { ignore: [/^extra/] },
  );
});

test('lists all that is wrong in one error', async () => {
  const checkpoint = await withKeys({ a: [2], 'blocks.0.x': [1], 'blocks.1.x': [1], odd: [1] });
  const expected = new Map<string, number[]>([
    ['a', [3]],
    ['blocks.0.y', [1]],
    ['blocks.1.y', [1]],
    ['blocks.2.y', [1]],
    ['head', [4]],
  ]);
  try {
    matchKeys(expected, checkpoint, { what: 'VAR-d3' });
    assert.unreachable();
  } catch (error) {
    assert.instance(error, CheckpointError);
    const { message, key } = error as CheckpointError;
    assert.is(key, 'blocks.0.y');
    for (const line of [
      'does not fit VAR-d3: 4 keys missing, 3 extra, 1 of another shape',
      'blocks.{0..2}.y (3)',
      'head',
      'blocks.{0..1}.x (2)',
      'odd',
      'a: the file has [2], expected [3]',
    ]) {
      assert.ok(message.includes(line), `${line} in\n${message}`);
    }
  }
});

test('groups by the first number and keeps gaps visible', () => {
  assert.equal(groupKeys(['b.0.w', 'b.1.w', 'b.3.w', 'c', 'b.0.v']), ['b.{0,1,3}.w (3)', 'c', 'b.0.v']);
});

test.run();
