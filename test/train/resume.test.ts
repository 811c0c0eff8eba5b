import { copyFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import type { LoopConfig } from '../../ts/train/index.js';
import { FakeOptimizer, type FakeOptions } from './fake.js';
import { fakeRun, folder, logged, stopAfter } from './support.js';

async function interrupted(out: string, stops: readonly number[], config: Partial<LoopConfig>, fake: FakeOptions = {}) {
  for (const gIt of stops) {
    const { result } = await fakeRun(out, config, fake, stopAfter(gIt));
    assert.is(result.status, 'stopped');
    assert.is(result.gIt, gIt + 1);
  }
  return await fakeRun(out, config, fake);
}

const all = (ac: number) => ({ ac, ep: 4 });

for (const ac of [1, 2, 3])
  test(`interrupted and resumed equals uninterrupted, bit for bit, also inside epochs and accumulations (ac ${ac})`, async () => {
    const [whole, broken] = [folder(), folder()];
    const a = await fakeRun(whole, all(ac));
    const b = await interrupted(broken, [0, 3, 6, 7, 12, 13, 20, 26], all(ac));
    assert.equal(b.task.weights, a.task.weights);
    assert.equal(b.optimizer.momentum, a.optimizer.momentum);
    assert.is(b.task.seen, a.task.seen);
    assert.equal(b.result.bestMeans, a.result.bestMeans);
    assert.equal(b.result.evaluation, a.result.evaluation);
    assert.is(a.result.gIt, 28);
    for (const type of ['step', 'epoch', 'eval']) {
      assert.ok(logged(whole, type).length > 0);
      assert.equal(logged(broken, type), logged(whole, type), `${type} lines of log.jsonl`);
    }
    const txt = (out: string) =>
      readFileSync(join(out, 'log.txt'), 'utf8')
        .split('\n')
        .map((line) => line.replace(/'remain_time.*/, ''));
    assert.equal(txt(broken), txt(whole));
  });

test('a checkpoint without the optimizer would show', async () => {
  const [whole, broken] = [folder(), folder()];
  const a = await fakeRun(whole, all(1));
  await fakeRun(broken, all(1), {}, stopAfter(9));
  const { restore } = FakeOptimizer.prototype;
  FakeOptimizer.prototype.restore = async () => undefined;
  try {
    const b = await fakeRun(broken, all(1));
    assert.not.equal(b.task.weights, a.task.weights);
  } finally {
    FakeOptimizer.prototype.restore = restore;
  }
});

test('preparation happens once, in the fresh run', async () => {
  const out = folder();
  const a = await fakeRun(out, all(1), {}, stopAfter(2));
  const b = await fakeRun(out, all(1));
  assert.is(a.task.prepared, 1);
  assert.is(b.task.prepared, 0);
  assert.equal(b.batches.opened[0], [0, 3]);
});

test('a finished run is not trained again', async () => {
  const out = folder();
  await fakeRun(out, all(1));
  const before = readFileSync(join(out, 'ar-ckpt-last.pth'));
  const again = await fakeRun(out, all(1));
  assert.is(again.result.status, 'finished');
  assert.is(again.events.filter((event) => event.type === 'step').length, 0);
  assert.equal(readFileSync(join(out, 'ar-ckpt-last.pth')), before);
});

test('evaluation that is interrupted is done again', async () => {
  const [whole, broken] = [folder(), folder()];
  const a = await fakeRun(whole, all(1));
  const controller = new AbortController();
  const stop = {
    signal: controller.signal,
    onEvent: (event: { type: string; gIt?: number }) => {
      if (event.type === 'step' && event.gIt === 13) controller.abort();
    },
  };
  const first = await fakeRun(broken, all(1), {}, stop as never);
  assert.is(first.result.status, 'stopped');
  assert.is(first.result.ep, 1);
  const b = await fakeRun(broken, all(1));
  assert.equal(b.task.weights, a.task.weights);
  assert.equal(logged(broken, 'eval'), logged(whole, 'eval'));
});

for (const [how, damage] of [
  ['cut off', (path: string) => truncateSync(path, 900)],
  ['empty', (path: string) => truncateSync(path, 0)],
  ['with one wrong bit in a tensor', (path: string) => flip(path)],
] as const)
  test(`a last checkpoint that is ${how} falls back to the one before, with a warning`, async () => {
    const [whole, broken] = [folder(), folder()];
    const a = await fakeRun(whole, { ...all(1), save_it: 3 });
    await fakeRun(broken, { ...all(1), save_it: 3 }, {}, stopAfter(10));
    damage(join(broken, 'ar-ckpt-last.pth'));
    const b = await fakeRun(broken, { ...all(1), save_it: 3 });
    const warnings = b.events.filter((event) => event.type === 'warning');
    assert.is(warnings.length, 1);
    assert.match(JSON.stringify(warnings[0]), /ar-ckpt-last\.pth.*an older checkpoint is taken/);
    const resumed = b.events.find((event) => event.type === 'resume');
    assert.match(JSON.stringify(resumed), /ar-ckpt-00000009\.pth/);
    assert.equal(b.task.weights, a.task.weights);
    assert.equal(logged(broken, 'step'), logged(whole, 'step'));
  });

/** One bit in the middle of a stored tensor: the directory stays readable. */
function flip(path: string): void {
  const bytes = readFileSync(path);
  const name = bytes.indexOf('archive/data/0');
  const at = 64 * Math.ceil((name + 18) / 64);
  bytes[at]! ^= 1;
  writeFileSync(path, bytes);
}

test('when no checkpoint is whole, the error names them all and nothing is overwritten', async () => {
  const out = folder();
  await fakeRun(out, { ...all(1), save_it: 3 }, {}, stopAfter(10));
  const names = readdirSync(out).filter((name) => name.endsWith('.pth'));
  for (const name of names) truncateSync(join(out, name), 100);
  try {
    await fakeRun(out, all(1));
    assert.unreachable();
  } catch (error) {
    for (const name of names) assert.match((error as Error).message, name);
  }
  assert.is(readFileSync(join(out, names[0]!)).length, 100);
});

test('another configuration is refused by the names of the options that differ', async () => {
  const out = folder();
  const args = { depth: 4, tblr: 0.1, ep: 4, workers: 1 };
  await fakeRun(out, all(1), {}, { ...stopAfter(3), args });
  const mayChange = new Set(['ep', 'workers']);
  try {
    await fakeRun(out, all(1), {}, { args: { ...args, depth: 5, tblr: 0.2, workers: 2 }, mayChange });
    assert.unreachable();
  } catch (error) {
    const { message, name } = error as Error;
    assert.is(name, 'ArgumentError');
    assert.match(message, '--depth: the run has 4, given is 5');
    assert.match(message, '--tblr: the run has 0.1, given is 0.2');
    assert.not.match(message, 'workers');
  }
  const { result } = await fakeRun(out, all(1), {}, { args: { ...args, workers: 2 }, mayChange });
  assert.is(result.status, 'finished');
});

test('other data is refused', async () => {
  const out = folder();
  await fakeRun(out, all(1), {}, stopAfter(3));
  for (const fake of [{ iters: 8 }, { numClasses: 4 }, { classes: ['a', 'c', 'b'] }])
    try {
      await fakeRun(out, all(1), fake);
      assert.unreachable();
    } catch (error) {
      assert.match((error as Error).message, /other data/);
    }
});

test("resume 'never' refuses a folder that holds a run; a path takes that checkpoint, with logs of its own", async () => {
  const [out, other, elsewhere] = [folder(), folder(), folder()];
  const whole = await fakeRun(folder(), all(1));
  await fakeRun(out, all(1), {}, stopAfter(3));
  try {
    await fakeRun(out, all(1), {}, { resume: 'never' });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /holds a run/);
  }
  copyFileSync(join(out, 'ar-ckpt-last.pth'), join(elsewhere, 'mine.pth'));
  const { result, task } = await fakeRun(other, all(1), {}, { resume: join(elsewhere, 'mine.pth') });
  assert.is(result.status, 'finished');
  assert.equal(task.weights, whole.task.weights);
  assert.is(logged(other, 'step')[0]!.gIt, 4);
  assert.ok(existsSync(join(other, 'ar-ckpt-last.pth')));
});

test('a checkpoint from elsewhere does not replace the run of a folder', async () => {
  const [out, other] = [folder(), folder()];
  for (const dir of [out, other]) await fakeRun(dir, all(1), {}, stopAfter(3));
  const path = join(other, 'ar-ckpt-last.pth');
  await fakeRun(out, all(1), {}, { resume: path }).then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /holds another run/),
  );
  const { result } = await fakeRun(other, all(1), {}, { resume: path });
  assert.is(result.status, 'finished');
});

test('weights alone are no run to go on from', async () => {
  const { writePth } = await import('../../ts/checkpoint/index.js');
  const path = join(folder(), 'weights.pth');
  await writePth(path, new Map([['w', { dtype: 'f32', shape: [1], data: Float32Array.of(1) }]]));
  try {
    await fakeRun(folder(), all(1), {}, { resume: path });
    assert.unreachable();
  } catch (error) {
    assert.match((error as Error).message, /not a checkpoint of nextscale train/);
  }
});

test.run();
