import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox, philox, uniform } from '../../../ts/core/philox.js';

const test = suite('philox');

// Known answers of Random123 (kat_vectors, philox4x32 with 10 rounds).
test('gives the published words', () => {
  assert.equal(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  const ones = 0xffffffff;
  assert.equal(philox([ones, ones, ones, ones], [ones, ones]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  assert.equal(
    philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  );
});

test('takes negative words as their bits', () => {
  assert.equal(philox([-1, -1, -1, -1], [-1, -1]), philox([0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff]));
});

test('words become numbers strictly between 0 and 1', () => {
  assert.is(uniform(0), 2 ** -33);
  assert.ok(uniform(0xffffffff) < 1);
});

test('a sequence depends on seed and stream alone', () => {
  const draw = (seed: number, stream: number) =>
    Array.from(
      { length: 9 },
      (
        (p) => () =>
          p.next()
      )(new Philox(seed, stream)),
    );
  assert.equal(draw(7, 1), draw(7, 1));
  assert.not.equal(draw(7, 1), draw(7, 2));
  assert.not.equal(draw(7, 1), draw(7 + 2 ** 32, 1));
  assert.is(new Set(draw(7, 1)).size, 9);
});

test('below is in range and reaches every value', () => {
  const p = new Philox(3);
  const seen = new Set(Array.from({ length: 400 }, () => p.below(10)));
  assert.equal([...seen].sort(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test.run();
