// driver: timeout=900
// scripts/gpu-check without a GPU: what the archive holds, a run of it with the kernels emulated on the host, the shape of its JSON.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { capture } from '../../scripts/setup/exec.mjs';
import { runChild } from '../../scripts/testing/child.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const script = join(root, 'scripts', 'gpu-check');
const emulated = join(root, 'build-emulated', 'Release', 'nextscale_cuda.so');
const folder = mkdtempSync(join(tmpdir(), 'nextscale-gpu-check-'));
const archive = join(folder, 'kit.tar');

const test = suite('gpu-check');

interface Step {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
  readonly failures: { name: string; lines: string[] }[];
  readonly skips: { name: string; reason: string }[];
}

interface Json {
  readonly commit: string;
  readonly emulated: boolean;
  readonly device: { device: string };
  readonly steps: Record<string, Step>;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const check = (args: string[], env: Record<string, string> = {}) => runChild(script, args, { cwd: root, timeoutS: 400, env });
const state = join(folder, 'state');
const json = (): Json => JSON.parse(readFileSync(join(state, 'gpu-check.json'), 'utf8')) as Json;

const packs = capture('xz', ['--version']) !== null;
if (!packs) test.skip('the archive needs xz', () => {});

(packs ? test : test.skip)('pack writes one archive; JavaScript runs from it without packages of the checkout', async () => {
  const { code, output } = await check(['pack', '--bare', '--out', archive]);
  assert.is(code, 0, output);
  assert.ok(statSync(archive).size < 5e6, `${statSync(archive).size} bytes`);
  const kit = join(folder, 'kit');
  mkdirSync(kit);
  await runChild('tar', ['-xf', archive, '-C', kit]);
  await runChild('tar', ['-xf', join(kit, 'kit.tar.xz'), '-C', kit]);
  for (const name of [
    'manifest.json',
    'release/nextscale.node',
    'js/native/abi/ops.json',
    'js/test/parity/parity.test.js',
    'js/test/golden/run.js',
  ])
    assert.ok(existsSync(join(kit, name)), name);
  const env = { NEXTSCALE_ADDON: join(kit, 'release', 'nextscale.node'), NEXTSCALE_OPS: 'fill,softmax', NEXTSCALE_DEVICE: 'cpu' };
  const run = await runChild(process.execPath, [join(kit, 'js', 'test', 'parity', 'parity.test.js')], { cwd: folder, env });
  assert.is(run.code, 0, run.output);
  assert.match(run.stdout, /2 passed, 0 failed/);
});

test('without a GPU run says so and passes', async () => {
  const tools = join(folder, 'tools');
  mkdirSync(tools);
  writeFileSync(join(tools, 'nvidia-smi'), '#!/bin/sh\nexit 9\n', { mode: 0o755 });
  const { code, stdout } = await check(['run'], { PATH: `${tools}:${process.env.PATH}` });
  assert.is(code, 0);
  assert.match(stdout, /no NVIDIA GPU here .*\n0 passed, 0 failed, 1 skipped\n$/);
});

if (packs && existsSync(emulated)) {
  const run = (...args: string[]) =>
    check(['run', '--emulated', '--archive', archive, '--out', state, '--plugin', emulated, '--ops', 'fill,linear', ...args]);

  test('a run on the emulation fills one JSON', async () => {
    const { code, stdout } = await run('--steps', 'build,parity,sanitize');
    assert.is(code, 0, stdout);
    const result = json();
    assert.equal(Object.keys(result.steps), ['build', 'parity', 'memcheck', 'racecheck']);
    assert.ok(result.emulated);
    assert.is(result.device.device, 'emulated on the host');
    assert.match(result.commit, /^([0-9a-f]{7,}\+?|unknown)$/);
    const { passed, failed, skipped } = result;
    assert.ok(passed >= 4 && failed === 0 && skipped >= 3, stdout);
    assert.is(stdout.trimEnd().split('\n').at(-1), `${passed} passed, ${failed} failed, ${skipped} skipped`);
    assert.ok(result.steps.memcheck?.skips.some(({ reason }) => /compute-sanitizer needs a GPU/.test(reason)));
  });

  test('a failure is counted and named; the steps after it run', async () => {
    const { code, stdout } = await run('--steps', 'parity,peers', '--ops', 'nonsense');
    assert.is(code, 1, stdout);
    const { steps } = json();
    assert.ok(steps.parity!.failed > 0 && steps.peers!.skipped === 1, stdout);
    assert.match(steps.parity!.failures[0]!.name, /parity\.test\.ts on cuda/);
    assert.ok(steps.memcheck, 'steps of earlier runs are kept');
  });
} else test.skip('a run needs xz and build-emulated: npm test -- --only cuda', () => {});

test.after(() => rmSync(folder, { recursive: true, force: true }));

test.run();
