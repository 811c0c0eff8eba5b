import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { lockFolder } from '../../ts/train/lock.js';
import { fakeRun, folder } from './support.js';

test('a folder is one run at a time', async () => {
  const out = folder();
  const unlock = await lockFolder(out);
  await fakeRun(out).then(
    () => assert.unreachable(),
    (error: Error) => {
      assert.is(error.name, 'ArgumentError');
      assert.match(error.message, `is in use by process ${process.pid}`);
    },
  );
  await unlock();
  const { result } = await fakeRun(out);
  assert.is(result.status, 'finished');
  assert.not(existsSync(join(out, 'run.lock')), 'given back at the end');
});

test('what a dead process, another host or a torn write left is taken over', async () => {
  const dead = spawnSync(process.execPath, ['-e', '']).pid!;
  const { start } = JSON.parse(await own()) as { start: string | null };
  for (const left of [
    JSON.stringify({ pid: dead, host: hostname(), start: '1' }),
    JSON.stringify({ pid: process.pid, host: 'elsewhere', start }),
    JSON.stringify({ pid: process.pid, host: hostname(), start: '12' }),
    '',
    '{"pid":',
  ]) {
    if (left.includes('"12"') && start === null) continue;
    const out = folder();
    writeFileSync(join(out, 'run.lock'), left);
    const unlock = await lockFolder(out);
    assert.is((JSON.parse(readFileSync(join(out, 'run.lock'), 'utf8')) as { pid: number }).pid, process.pid);
    await unlock();
  }
});

async function own(): Promise<string> {
  const out = folder();
  const unlock = await lockFolder(out);
  const text = readFileSync(join(out, 'run.lock'), 'utf8');
  await unlock();
  return text;
}

test('a run that fails gives the folder back', async () => {
  const out = folder();
  await fakeRun(out, { max_nan: 1, max_rewind: 0 }, { badLoss: () => true }).then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.not(existsSync(join(out, 'run.lock')));
  await fakeRun(out, {}, {}, { resume: join(out, 'absent.pth') }).then(
    () => assert.unreachable(),
    () => undefined,
  );
  assert.not(existsSync(join(out, 'run.lock')));
});

test.run();
