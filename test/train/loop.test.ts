// What the loop does besides resuming: schedule, accumulation, skipped steps and rewinds, evaluation and best, logs.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { openCheckpoint } from '../../ts/checkpoint/index.js';
import { lrWdAt } from '../../ts/optim/index.js';
import type { StepEvent } from '../../ts/train/events.js';
import { decodeState, SavedTensor, train } from '../../ts/train/index.js';
import { FakeOptimizer, FakeTask, fakeBatches, fakeConfig } from './fake.js';
import { fakeRun, folder, logged } from './support.js';

const steps = (events: readonly { type: string }[]): StepEvent[] => events.filter((e) => e.type === 'step') as StepEvent[];
const warnings = (events: readonly { type: string }[], code: string) =>
  events.filter((e) => e.type === 'warning' && (e as { code?: string }).code === code) as unknown as { message: string }[];

test('every iteration follows the schedule; the optimizer steps after the last of an accumulation', async () => {
  const config = fakeConfig({ ac: 3 });
  const { events, optimizer } = await fakeRun(folder(), { ac: 3 });
  const all = steps(events);
  assert.is(all.length, 28);
  for (const { gIt, lr, wd, stepping } of all) {
    const point = lrWdAt({ sche: 'lin0', peakLr: 0.05, wd: 0.05, wdEnd: 0.02, wpIt: config.wp * 7, maxIt: 28, wp0: 0.005, wpe: 0.01 }, gIt);
    assert.is(lr, point.lr);
    assert.is(wd, point.wd);
    assert.is(stepping, (gIt + 1) % 3 === 0);
  }
  assert.is(optimizer.steps, 9);
});

test('the log of an accumulation never holds a missing norm', async () => {
  const { events } = await fakeRun(folder(), { ac: 2 });
  const lines = events.filter((e) => e.type === 'progress') as { line: string; it: number; ep: number }[];
  assert.ok(lines.length > 8);
  for (const { line, ep, it } of lines) assert.is(/tnm: \d+\.\d\d /.test(line), ep > 0 || it > 0, line);
});

for (const [what, fake, reason] of [
  ['loss', { badLoss: (gIt: number) => gIt === 5 }, /loss is NaN/],
  ['gradient', { badGrad: (gIt: number) => gIt === 5 }, /1 gradients are not finite, first in blocks\.0\.w/],
] as const)
  test(`a ${what} that is not finite skips the step, is counted and named`, async () => {
    const out = folder();
    const { events, optimizer, result } = await fakeRun(out, {}, fake);
    assert.is(optimizer.steps, 27);
    assert.is(result.skipped, 1);
    assert.is(result.status, 'finished');
    assert.equal(
      steps(events)
        .filter((e) => e.skipped)
        .map((e) => e.gIt),
      [5],
    );
    const [warning] = warnings(events, 'skipped');
    assert.match(warning!.message, /epoch 0, iteration 5/);
    assert.match(warning!.message, reason);
    assert.is(logged(out, 'epoch')[0]!.skipped, 1);
    assert.ok(Object.values(result.bestMeans).every(Number.isFinite), 'no mean is spoilt');
  });

test('in an accumulation one bad loss skips the whole step', async () => {
  const { optimizer, result, events } = await fakeRun(folder(), { ac: 3 }, { badLoss: (gIt) => gIt === 3 });
  assert.is(result.skipped, 1);
  assert.is(optimizer.steps, 8);
  assert.match(warnings(events, 'skipped')[0]!.message, /iteration 5: loss is NaN \(/, 'the loss of the last iteration was fine');
});

test('after max_nan skipped steps in a row the run goes back to the last good checkpoint, by the same path', async () => {
  const whole = await fakeRun(folder(), { save_it: 4 });
  let left = 3;
  const out = folder();
  // the trouble is gone the second time, as with a memory error
  const fake = { badGrad: (gIt: number) => gIt >= 9 && left > 0 && left-- > 0 };
  const { events, result, task } = await fakeRun(out, { save_it: 4, max_nan: 3 }, fake);
  assert.is(result.rewinds, 1);
  assert.is(result.skipped, 3);
  const [rewind] = warnings(events, 'rewind');
  assert.match(rewind!.message, /back to .*ar-ckpt-last\.pth \(epoch 1, iteration 1\)/);
  assert.equal(task.weights, whole.task.weights);
  assert.equal(
    logged(out, 'step').map((row) => row.gIt),
    Array.from({ length: 28 }, (_, i) => i),
    'no iteration stands in the log twice',
  );
});

test('no checkpoint is taken while steps are skipped', async () => {
  const { events } = await fakeRun(
    folder(),
    { save_it: 1, max_nan: 5, max_rewind: 0, ep: 1 },
    { badGrad: (gIt) => gIt === 2 || gIt === 3 },
  );
  const saved = events.filter((e) => e.type === 'checkpoint').map((e) => e.gIt);
  assert.equal(saved, [0, 1, 2, 5, 6, 7]);
});

test('a run that stays bad gives up with a typed error that says what to do', async () => {
  const out = folder();
  try {
    await fakeRun(out, { max_nan: 2, max_rewind: 2, save_it: 2 }, { badLoss: (gIt) => gIt >= 6 });
    assert.unreachable();
  } catch (error) {
    const { code, message } = error as Error & { code: string };
    assert.is(code, 'ERR_DIVERGED');
    assert.match(message, /2 steps in a row were not finite in epoch 1, iteration 0, after 2 rewinds/);
  }
  assert.is(
    logged(out, 'warning').filter((row) => row.code === 'rewind').length,
    1,
    'those before the last rewind are cut with their iterations',
  );
});

test('evaluation comes every val_ep epochs and after the last; best is a copy of what was evaluated', async () => {
  const out = folder();
  const values = [5, 3, 4, 3.5];
  const { events, result } = await fakeRun(out, { ep: 7 }, { evaluation: (epochs) => values[(epochs - 1) >> 1] ?? 9 });
  const evals = events.filter((e) => e.type === 'eval');
  assert.equal(
    evals.map((e) => [e.ep, e.best, e.count]),
    [
      [1, true, 4],
      [3, true, 4],
      [5, false, 4],
      [6, false, 4],
    ],
  );
  assert.is(result.best, 3);
  const saves = events.flatMap((e) => (e.type === 'checkpoint' && e.best !== undefined ? [e.ep] : []));
  assert.equal(saves, [2, 4]);
  const best = await openCheckpoint(join(out, 'ar-ckpt-best.pth'), { root: '' });
  const state = decodeState(best);
  assert.is(state.epoch, 4);
  assert.ok((state.trainer as { var_wo_ddp: { w: unknown } }).var_wo_ddp.w instanceof SavedTensor);
});

test('without a validation set nothing is evaluated and best is not written', async () => {
  const out = folder();
  const { events } = await fakeRun(out, {}, {}, { validation: undefined });
  assert.is(events.filter((e) => e.type === 'eval').length, 0);
  assert.not(existsSync(join(out, 'ar-ckpt-best.pth')));
});

test('the last and as many older checkpoints as asked for stay', async () => {
  for (const keep of [0, 1, 3]) {
    const out = folder();
    await fakeRun(out, { save_it: 2, keep });
    const names = readdirSync(out).filter((name) => /-ckpt-\d+\.pth$/.test(name));
    assert.is(names.length, keep);
    if (keep === 3) assert.equal(names.sort(), ['ar-ckpt-00000022.pth', 'ar-ckpt-00000024.pth', 'ar-ckpt-00000026.pth']);
  }
});

test('checkpoints come by iterations, by minutes, and at the ends of epochs', async () => {
  let now = 0;
  const clock = () => (now += 7);
  const { events } = await fakeRun(folder(), { save_min: 1, save_ep: false, val_ep: 9 }, {}, { clock });
  const reasons = events.filter((e) => e.type === 'checkpoint').map((e) => e.reason);
  assert.is(reasons[0], 'start');
  assert.is(reasons.at(-1), 'end');
  assert.ok(reasons.filter((r) => r === 'time').length >= 2, reasons.join());
  const b = await fakeRun(folder(), { save_it: 5, save_ep: true });
  const at = b.events.filter((e) => e.type === 'checkpoint').map((e) => [e.gIt, e.reason].join(' '));
  assert.equal(at, ['0 start', '5 steps', '7 epoch', '10 steps', '14 epoch', '15 steps', '20 steps', '21 epoch', '25 steps', '28 end']);
});

test('iterations whose number is a multiple of an epoch count as well', async () => {
  const { events } = await fakeRun(folder(), { save_it: 7, save_ep: false, val_ep: 9 });
  assert.equal(
    events.filter((e) => e.type === 'checkpoint').map((e) => e.gIt),
    [0, 7, 14, 21, 28],
  );
});

test('the best that could not be written is not the best', async () => {
  const { CheckpointStore } = await import('../../ts/train/store.js');
  const { save } = CheckpointStore.prototype;
  CheckpointStore.prototype.save = async function (value, gIt) {
    if (gIt === 14) throw new Error('ENOSPC: no space left on device');
    return await save.call(this, value, gIt);
  };
  try {
    const out = folder();
    const values = [3, 4];
    const { events, result } = await fakeRun(out, {}, { evaluation: (epochs) => values[(epochs - 1) >> 1]! });
    assert.equal(
      events.flatMap((e) => (e.type === 'checkpoint' && e.best !== undefined ? [e.gIt] : [])),
      [28],
    );
    assert.is(result.best, 4);
    assert.ok(existsSync(join(out, 'ar-ckpt-best.pth')));
  } finally {
    CheckpointStore.prototype.save = save;
  }
});

test('every image that cannot be used is named once, also those of the validation part', async () => {
  const batches = fakeBatches();
  const validation = { ...fakeBatches({ iters: 2 }), skipped: new Map([['c.png', 'the file is empty']]) };
  (batches.skipped as Map<string, string>).set('a.png', 'not an image');
  const out = folder();
  const task = new FakeTask();
  await train({ task, optimizer: new FakeOptimizer(task, 1), batches, validation, config: fakeConfig(), out });
  assert.equal(
    logged(out, 'warning').map((row) => row.message),
    ['a.png: not an image; another image stands in its place', 'c.png: the file is empty; another image stands in its place'],
  );
});

test('a checkpoint that cannot be written is a warning, except the last', async () => {
  const { CheckpointStore } = await import('../../ts/train/store.js');
  const { save } = CheckpointStore.prototype;
  let broken = 0;
  CheckpointStore.prototype.save = async function (value, gIt) {
    if (gIt === 7 || gIt === 10) {
      broken++;
      throw new Error('ENOSPC: no space left on device');
    }
    return await save.call(this, value, gIt);
  };
  try {
    const { events, result } = await fakeRun(folder(), { save_it: 5 });
    assert.is(result.status, 'finished');
    assert.is(broken, 2);
    assert.match(warnings(events, 'checkpoint')[0]!.message, /ENOSPC/);
    CheckpointStore.prototype.save = async () => {
      throw new Error('ENOSPC: no space left on device');
    };
    await fakeRun(folder(), {}).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, /ENOSPC/),
    );
  } finally {
    CheckpointStore.prototype.save = save;
  }
});

test('log.txt holds a Python literal per epoch, config.json the options, samples the pictures', async () => {
  const out = folder();
  await fakeRun(out, {}, {}, { head: { name: 'trial', cmd: 'train var' }, args: { depth: 4 } });
  const [head, ...rows] = readFileSync(join(out, 'log.txt'), 'utf8').trimEnd().split('\n');
  assert.equal(JSON.parse(head!), { is_master: true, name: 'trial', cmd: 'train var' });
  assert.is(rows.length, 4);
  for (const key of ['it', 'ep', 'lr', 'wd', 'grad_norm', 'L_mean', 'L_tail', 'acc_mean', 'acc_tail', 'remain_time', 'finish_time'])
    assert.match(rows[0]!, `'${key}': `);
  assert.match(rows[1]!, "'vL_mean': ");
  assert.match(rows[3]!, "'ep': '4/4'");
  assert.equal(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8')), { depth: 4 });
  assert.ok(readdirSync(join(out, 'samples')).length >= 2);
});

test('options out of range are refused by name', async () => {
  for (const [bad, pattern] of [
    [{ ep: 0 }, /ep is 0/],
    [{ ac: 1.5 }, /ac is 1.5/],
    [{ tlr: Number.NaN }, /tlr is NaN/],
    [{ sche: 'linear' }, /sche is "linear"/],
    [{ wp: 9 }, /wp is 9/],
    [{ keep: -1 }, /keep is -1/],
  ] as const)
    await fakeRun(folder(), bad).then(
      () => assert.unreachable(),
      (error: Error) => assert.match(error.message, pattern),
    );
});

test('data that ends early is an error', async () => {
  const task = new FakeTask();
  const batches = { ...fakeBatches(), iters: 9 };
  await train({ task, optimizer: new FakeOptimizer(task, 1), batches, config: fakeConfig(), out: folder() }).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /the data ends after 7 of 9 batches of epoch 0/),
  );
});

test.run();
