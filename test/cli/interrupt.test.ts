// driver: timeout=300
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { folder, nextscale } from './support.js';

const dir = folder();
const long = (out: string): string[] => ['generate', '--init', 'tiny', '--random', '2000', '--batch', '1', '--out', out];

test('Ctrl-C during generate ends with 130 and leaves no file', async () => {
  const out = join(dir, 'a');
  const since = Date.now();
  const { code, stderr, stdout } = await nextscale(long(out), { onStderr: (text) => (text.includes('generate 1') ? 'SIGINT' : undefined) });
  assert.is(code, 130, stderr);
  assert.match(stderr, /Interrupted/);
  assert.match(stderr, /cancelled/);
  assert.is(stdout, '');
  assert.equal(readdirSync(out), []);
  assert.ok(Date.now() - since < 60_000);
});

test('a second Ctrl-C ends the process at once', async () => {
  const { code, stderr } = await nextscale(long(join(dir, 'b')), {
    signals: 2,
    onStderr: (text) => (text.includes('generate 1') ? 'SIGINT' : undefined),
  });
  assert.is(code, 130, stderr);
});

test('Ctrl-C while a checkpoint is written leaves neither the file nor a temporary one', async () => {
  const out = join(dir, 'c');
  mkdirSync(out);
  // 1.2 GB: long enough for the signal to arrive while it is written
  const args = ['init', 'var', '--preset', 'd16', '--out', join(out, 'var.safetensors')];
  const { code, stderr } = await nextscale(args, { onStderr: (text) => (/write \d+\//.test(text) ? 'SIGINT' : undefined) });
  assert.is(code, 130, stderr);
  assert.equal(readdirSync(out), []);
  assert.not.ok(existsSync(join(out, 'var.safetensors')));
});

test('a reader that goes away is no error', async () => {
  const { spawnSync } = await import('node:child_process');
  const main = new URL('../../ts/cli/main.ts', import.meta.url).pathname;
  const shell = spawnSync(
    'bash',
    ['-c', `"${process.execPath}" --import tsx "${main}" generate --help | head -n 1; echo "\${PIPESTATUS[0]}"`],
    { encoding: 'utf8' },
  );
  assert.match(shell.stdout, /Usage: nextscale generate/);
  assert.is(shell.stdout.trim().split('\n').at(-1), '0');
  assert.is(shell.stderr, '');
});

test.run();
