// Files that grow: cut back, appended to, and whole again after the disk was full for a while.
import { readFileSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AppendFile } from '../../ts/train/append-file.js';
import { RunLog } from '../../ts/train/run-log.js';
import { fakeRun, folder, logged } from './support.js';

const bytes = (text: string) => Buffer.from(text);

/** While fn runs, writes to open files leave half of their bytes and fail as often as `fails` says. */
async function onFullDisk<T>(fails: () => boolean, fn: () => Promise<T>): Promise<T> {
  const handle = await open(join(folder(), 'any'), 'w');
  const kind = Object.getPrototypeOf(handle) as { appendFile: FileHandle['appendFile'] };
  await handle.close();
  const { appendFile } = kind;
  kind.appendFile = async function (this: FileHandle, data: string | Uint8Array) {
    if (!fails()) return await appendFile.call(this, data);
    await appendFile.call(this, (data as Uint8Array).subarray(0, data.length >> 1));
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  };
  try {
    return await fn();
  } finally {
    kind.appendFile = appendFile;
  }
}

test('what is there stays, or as much of it as asked for', async () => {
  const path = join(folder(), 'log');
  writeFileSync(path, 'one\ntwo\n');
  const whole = await AppendFile.open(path, 100);
  assert.not(whole.empty);
  whole.append(bytes('three\n'));
  assert.is(await whole.flush(), 14);
  await whole.truncate(8);
  await whole.close();
  const cut = await AppendFile.open(path, 100, { keep: 4 });
  cut.append(bytes('2\n'));
  await cut.close();
  assert.is(readFileSync(path, 'utf8'), 'one\n2\n');
  await AppendFile.open(path, 100, { flags: 'ax' }).then(
    () => assert.unreachable(),
    (error: NodeJS.ErrnoException) => assert.is(error.code, 'EEXIST'),
  );
});

test('bytes that could not be written are written by the next flush, in their place', async () => {
  const path = join(folder(), 'log');
  const file = await AppendFile.open(path, 1 << 16);
  file.append(bytes('one\n'));
  await file.flush();
  let left = 2;
  await onFullDisk(
    () => left-- > 0,
    async () => {
      for (const text of ['two, which is long\n', 'three\n']) {
        file.append(bytes(text));
        await file.flush().then(
          () => assert.unreachable(),
          (error: NodeJS.ErrnoException) => assert.is(error.code, 'ENOSPC'),
        );
        assert.is(readFileSync(path, 'utf8'), 'one\n');
      }
      file.append(bytes('four\n'));
      assert.is(await file.flush(), 34);
    },
  );
  await file.close();
  assert.is(readFileSync(path, 'utf8'), 'one\ntwo, which is long\nthree\nfour\n');
});

test('a disk that is full for a while costs checkpoints, not the run, and no line of the log', async () => {
  const [whole, out] = [folder(), folder()];
  await fakeRun(whole, { save_it: 5 });
  let full = false;
  const { events, result } = await onFullDisk(
    () => full,
    () =>
      fakeRun(
        out,
        { save_it: 5 },
        {},
        {
          onEvent: (event) => {
            if (event.type === 'step') full = event.gIt >= 8 && event.gIt < 12;
          },
        },
      ),
  );
  assert.is(result.status, 'finished');
  const refused = events.filter((event) => event.type === 'warning' && event.code === 'checkpoint');
  assert.is(refused.length, 1, JSON.stringify(refused));
  const saved = events.flatMap((event) => (event.type === 'checkpoint' ? [event.gIt] : []));
  assert.equal(saved, [0, 5, 7, 14, 15, 20, 21, 25, 28], 'tried again at the next occasion, not in every iteration');
  assert.equal(logged(out, 'step'), logged(whole, 'step'));
});

test('a log that cannot be opened leaves no file open', async () => {
  const out = folder();
  writeFileSync(join(out, 'log.jsonl'), '');
  const { mkdirSync, readdirSync } = await import('node:fs');
  mkdirSync(join(out, 'log.txt'));
  const before = readdirSync('/proc/self/fd').length;
  await RunLog.open({ out }).then(
    () => assert.unreachable(),
    (error: NodeJS.ErrnoException) => assert.is(error.code, 'EISDIR'),
  );
  assert.is(readdirSync('/proc/self/fd').length, before);
});

test.run();
