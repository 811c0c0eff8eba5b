import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ArgumentError } from '../../../ts/core/errors.js';
import { roundHalfEven } from '../../../ts/core/round.js';
import { annealGroups, lrWdAt, type ScheduleOptions } from '../../../ts/optim/schedule.js';

const test = suite('schedules');
const base: ScheduleOptions = { sche: 'cos', peakLr: 2, wd: 0.1, wdEnd: 0.3, wpIt: 5, maxIt: 21, wp0: 0.1, wpe: 0.01 };
const near = (a: number, b: number): void => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

test('warm-up begins at wp0 and reaches the peak at wpIt, for every schedule', () => {
  for (const sche of ['cos', 'lin', 'lin0', 'lin00', 'lin0.5', 'exp']) {
    near(lrWdAt({ ...base, sche }, 0).lr, 0.2);
    near(lrWdAt({ ...base, sche }, 5).lr, 2);
    near(lrWdAt({ ...base, sche }, 20).lr, 0.02);
  }
});

test('the middle of the decay, by hand', () => {
  const options = { ...base, wpIt: 0 };
  near(lrWdAt(options, 10).lr, 2 * (0.01 + 0.99 * 0.5));
  near(lrWdAt({ ...options, sche: 'lin00' }, 10).lr, 2 * (0.01 + 0.99 * 0.5));
  near(lrWdAt({ ...options, sche: 'lin' }, 10).lr, 2 * (0.01 + (0.99 * 0.5) / 0.85));
  near(lrWdAt({ ...options, sche: 'lin0.5' }, 10).lr, 2 * (1 + (1 + 0.01 + 0.99 * 0.5) / 2 - 1));
  near(lrWdAt({ ...options, sche: 'exp' }, 10).lr, 2 * 0.01 ** (0.35 / 0.85));
  near(lrWdAt(options, 10).wd, 0.2);
});

test('groups get their scaled rates, and the extremes are told', () => {
  const groups = [
    { lrSc: 1, wdSc: 0, lr: 0, weightDecay: 0 },
    { lrSc: 0.5, lr: 0, weightDecay: 0 },
  ];
  assert.equal(annealGroups(groups, { lr: 2, wd: 0.1 }), { minLr: 1, maxLr: 2, minWd: 0.1, maxWd: 0.1 });
  assert.equal(groups[0], { lrSc: 1, wdSc: 0, lr: 2, weightDecay: 0 });
  assert.equal(annealGroups([], { lr: 2, wd: 0.1 }), { minLr: -1, maxLr: -1, minWd: -1, maxWd: -1 });
});

test('short runs have finite rates', () => {
  for (const [wpIt, maxIt] of [
    [0, 1],
    [3, 4],
    [4, 4],
  ] as const) {
    for (let it = 0; it < maxIt; it++) {
      const { lr, wd } = lrWdAt({ ...base, wpIt, maxIt }, it);
      assert.ok(Number.isFinite(lr) && Number.isFinite(wd));
    }
  }
});

test('unknown schedules and bad numbers are ArgumentErrors', () => {
  const isArgument = (error: unknown): boolean => error instanceof ArgumentError;
  for (const sche of ['cosine', 'lin2', 'linx', 'lin-1', '']) assert.throws(() => lrWdAt({ ...base, sche }, 6), isArgument);
  assert.throws(() => lrWdAt({ ...base, peakLr: Number.NaN }, 0), isArgument);
  assert.throws(() => lrWdAt(base, -1), isArgument);
  assert.throws(() => lrWdAt(base, 1.5), isArgument);
});

test('roundHalfEven', () => {
  assert.equal(
    [0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6, 112.5].map((x) => roundHalfEven(x) + 0),
    [0, 2, 2, 0, -2, 2, 3, 112],
  );
});

test.run();
