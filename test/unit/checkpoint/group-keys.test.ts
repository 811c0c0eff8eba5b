import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { groupKeys } from '../../../ts/checkpoint/index.js';

const test = suite('groupKeys');

test('names that differ in their first number become one line; gaps stay visible', () => {
  assert.equal(groupKeys(['b.0.w', 'b.1.w', 'b.2.w', 'c', 'b.0.v']), ['b.{0..2}.w (3)', 'c', 'b.0.v']);
  assert.equal(groupKeys(['b.0.w', 'b.1.w', 'b.3.w']), ['b.{0,1,3}.w (3)']);
  assert.equal(groupKeys(Array.from({ length: 9 }, (_, i) => `b.${2 * i}.w`)), ['b.{0,2,4,6,8,10,...}.w (9)']);
});

test('only the first number counts', () => {
  assert.equal(groupKeys(['d.0.x.1.w', 'd.1.x.1.w', 'd.0.x.2.w']), ['d.{0..1}.x.1.w (2)', 'd.0.x.2.w']);
});

test.run();
