import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { runChild } from '../../scripts/testing/child.mjs';
import { readExitCode, readLastLine, readUvu } from '../../scripts/testing/counts.mjs';
import { directives } from '../../scripts/testing/files.mjs';
import { Tally } from '../../scripts/testing/tally.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const uvu = pathToFileURL(join(root, 'node_modules/uvu/dist/index.mjs')).href;
const folder = mkdtempSync(join(tmpdir(), 'nextscale-driver-'));
const HEAD = `import { test, suite } from '${uvu}';\n`;

async function verdict(body: string, timeoutS = 20) {
  const file = join(folder, 'case.mjs');
  writeFileSync(file, HEAD + body);
  const counts = readUvu(await runChild(process.execPath, [file], { timeoutS }));
  return { text: `${counts.passed} ${counts.failed} ${counts.skipped}`, problem: String(('problem' in counts && counts.problem) || '') };
}

const test = suite('test driver');

test('counts what passes, fails and is skipped', async () => {
  assert.equal(await verdict(`test('a', () => {}); test.skip('b', () => {}); test.run();`), { text: '1 0 1', problem: '' });
  assert.is((await verdict(`test('a', () => {}); test('b', () => { throw new Error('no'); }); test.run();`)).text, '1 1 0');
  assert.is((await verdict(`for (const n of ['x', 'y']) { const t = suite(n); t('a', () => {}); t.run(); }`)).text, '2 0 0');
});

test('a sum printed by a test itself is not believed', async () => {
  const fake = `process.stdout.write('\\n  Total:     9\\n  Passed:    9\\n  Skipped:   0\\n  Duration:  1ms\\n');`;
  assert.is((await verdict(`test('a', () => { ${fake} throw new Error('no'); }); test.run();`)).text, '0 1 0');
});

test('a file without tests fails', async () => {
  assert.match((await verdict('')).problem, 'no test results');
  assert.match((await verdict(`test('never run', () => {});`)).problem, 'no test results');
  assert.match((await verdict('test.run();')).problem, 'no tests in it');
});

test('a crash fails, before and after the sum', async () => {
  assert.match((await verdict(`throw new Error('at import');`)).problem, 'exit code 1');
  assert.match((await verdict(`test('a', () => process.kill(process.pid, 'SIGSEGV')); test.run();`)).problem, 'SIGSEGV');
  const late = await verdict(`process.on('exit', () => process.kill(process.pid, 'SIGSEGV')); test('a', () => {}); test.run();`);
  assert.is(late.text, '1 1 0');
  assert.match(late.problem, 'SIGSEGV');
  assert.match((await verdict(`process.on('exit', () => process.exit(3)); test('a', () => {}); test.run();`)).problem, 'exit code 3');
});

test('a suite that ends early or never ends fails', async () => {
  assert.is((await verdict(`test('a', () => new Promise(() => {})); test.run();`)).text, '0 1 0');
  assert.is((await verdict(`test('a', () => process.exit(0)); test.run();`)).text, '0 1 0');
  assert.match(
    (await verdict(`test('a', () => new Promise((r) => setTimeout(r, 60000))); test.run();`, 1)).problem,
    'still running after 1 s',
  );
});

test('a program that cannot start is a failure, not an exception', async () => {
  const run = await runChild(join(folder, 'missing'), []);
  assert.is(readExitCode(run).failed, 1);
  assert.match(readExitCode(run).problem ?? '', 'cannot start');
});

test('the last line of native tests and of the golden runner', () => {
  const read = (stdout: string, code = 0, problem: string | null = null) => readLastLine({ stdout, code, problem });
  assert.equal(read('x\n3 passed, 0 failed\n'), { passed: 3, failed: 0, skipped: 0 });
  assert.equal(read('3 passed, 0 failed, 4 skipped\n'), { passed: 3, failed: 0, skipped: 4 });
  assert.is(read('3 passed, 1 failed\n', 1).failed, 1);
  assert.is(read('3 passed, 0 failed\n', 1).failed, 1, 'exit code without a failed test');
  assert.is(read('3 passed, 1 failed\n', 0).failed, 1, 'failed tests with exit code 0');
  assert.is(read('0 passed, 0 failed\n').failed, 1);
  assert.is(read('3 passed, 0 failed\nand then a word\n').failed, 1);
  assert.is(read('', -1, 'killed by SIGABRT').failed, 1);
});

test('the tally ends in one line and tells the exit code', () => {
  const lines: string[] = [];
  const tally = new Tally((text: string) => lines.push(text));
  tally.add('a', { passed: 2, failed: 0, skipped: 0 });
  tally.skip('b', 'no clang-format');
  assert.is(tally.finish(), 0);
  assert.is(lines.join('').trimEnd().split('\n').at(-1), '2 passed, 0 failed, 1 skipped');
  assert.match(lines.join(''), 'skipped: b: no clang-format');
});

test('failures and an empty run give exit code 1', () => {
  const lines: string[] = [];
  const write = (text: string) => lines.push(text);
  const tally = new Tally(write);
  tally.add('a', { passed: 2, failed: 1, skipped: 0, problem: 'broken' }, { output: 'what it said', seconds: 1 });
  assert.is(tally.finish(), 1);
  assert.match(lines.join(''), 'what it said');
  assert.is(lines.join('').trimEnd().split('\n').at(-1), '2 passed, 1 failed');
  assert.is(new Tally(write).finish(), 1);
});

test('directives of a suite', () => {
  assert.equal(directives('// x\n// driver: timeout=600 alone\n'), { timeoutS: 600, alone: true });
  assert.equal(directives('import x;\n'), { timeoutS: 120, alone: false });
});

test.after(() => rmSync(folder, { recursive: true, force: true }));
test.run();
