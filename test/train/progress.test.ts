import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { formatDate, formatDelta, formatF, formatG, linspaceInt, pythonLiteral } from '../../ts/train/format.js';
import { LOOP_DEFAULTS, LogPlan } from '../../ts/train/index.js';
import { epochHeader, Meter, Meters, progressLine } from '../../ts/train/meters.js';

test("numbers as Python's format prints them", () => {
  // '%.2g' % v
  for (const [value, want] of [
    [1e-5, '1e-05'],
    [0.0001, '0.0001'],
    [0.00012345, '0.00012'],
    [1.25e-7, '1.2e-07'],
    [0.1, '0.1'],
    [12, '12'],
    [123, '1.2e+02'],
    [0, '0'],
    [-0.5, '-0.5'],
    [1e100, '1e+100'],
    [0.0999, '0.1'],
    [9.96, '10'],
    [Number.NaN, 'nan'],
    [Number.NEGATIVE_INFINITY, '-inf'],
  ] as const)
    assert.is(formatG(value, 2), want);
  assert.is(formatF(7.1234, 3), '7.123');
  assert.is(formatF(Number.NaN, 2), 'nan');
});

test('times as Python prints them', () => {
  assert.is(formatDelta(0), '0:00:00');
  assert.is(formatDelta(3723.9), '1:02:03');
  assert.is(formatDelta(86_400), '1 day, 0:00:00');
  assert.is(formatDelta(2 * 86_400 + 61), '2 days, 0:01:01');
  assert.match(formatDate(Date.UTC(2024, 0, 2, 3, 4)), /^\d{4}-\d\d-\d\d \d\d:\d\d$/);
});

test('Python literals', () => {
  assert.is(pythonLiteral({ a: null, b: [1, true], c: "it's\n", d: 0.5 }), "{'a': None, 'b': [1, True], 'c': 'it\\'s\\n', 'd': 0.5}");
  assert.is(pythonLiteral(Number.NaN), "float('nan')");
});

test('whole numbers between two ends as numpy.linspace(dtype=int) gives them', () => {
  assert.equal(linspaceInt(49, 5), [0, 12, 24, 36, 49]);
  assert.equal(linspaceInt(5, 5), [0, 1, 2, 3, 5]);
  assert.equal(linspaceInt(0, 5), [0, 0, 0, 0, 0]);
});

test('a meter knows value, median and mean over the window and over everything', () => {
  const meter = new Meter(4);
  for (const v of [10, 1, 5, 2, 8]) meter.update(v);
  assert.is(meter.value, 8);
  assert.is(meter.median, 3.5);
  assert.is(meter.avg, 4);
  assert.is(meter.globalAvg, 5.2);
  assert.is(String(meter), '3.5000 (5.2000)');
  assert.is(String(new Meter()), '0.0000 (0.0000)');
});

test('meters go into a checkpoint and come back', () => {
  const a = new Meters();
  for (let i = 0; i < 40; i++) a.update({ tlr: 1e-4, Lm: 7 + i / 10, Accm: i, other: -i });
  const b = new Meters();
  b.restore(JSON.parse(JSON.stringify(a.state())) as ReturnType<Meters['state']>);
  assert.is(String(b), String(a));
  for (const m of [a, b]) m.update({ Lm: 3, Accm: 50, tnm: 2 });
  assert.is(String(b), String(a));
  assert.equal(b.averages(), a.averages());
});

test("the progress line is the reference's", () => {
  const meters = new Meters();
  meters.update({ Lm: 7.1234, Lt: 6.5, Accm: 1.239, Acct: -1, tlr: 1e-5, tnm: 0.516 });
  const [time, data] = [new Meter(30, 'avg:.4f'), new Meter(30, 'avg:.4f')];
  time.update(0.1234);
  data.update(0.0012);
  const line = progressLine({ ep: 0, eps: 250, it: 5, iters: 50, secondsPerIt: 0.5, meters: String(meters), time, data });
  assert.is(
    line,
    '[Ep]: [   0/250]  [ 5/50]  eta: 0:00:22  tlr: 1e-05  tnm: 0.52  Lm: 7.123 (7.123)  Lt: 6.500 (6.500)  ' +
      'Accm: 1.24 (1.24)  Acct: -1.00 (-1.00)  time: 0.1234  data: 0.0012',
  );
  assert.is(epochHeader(12, 250), '[Ep]: [  12/250]');
});

test('lines come five times an epoch, thirty times a long one; metrics by iteration alone', () => {
  const config = { ...LOOP_DEFAULTS, ep: 2, tlr: 1, twd: 0, twde: 0 };
  const count = (iters: number) => {
    const plan = new LogPlan(config, iters);
    return Array.from({ length: iters }, (_, it) => plan.prints(it)).filter(Boolean).length;
  };
  assert.is(count(50), 5);
  assert.is(count(9000), 30);
  const plan = new LogPlan({ ...config, log_it: 7, tb_it: 500 }, 1000);
  assert.ok(plan.detailed(0) && plan.detailed(499) && !plan.detailed(500));
  assert.ok(plan.logs(14, 14) && !plan.logs(15, 15) && plan.logs(499, 499));
});

test.run();
