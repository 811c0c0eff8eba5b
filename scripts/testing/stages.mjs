// The stages of `npm test`, in their order. A stage adds its results to the tally; it never throws for a failing test.
import { copyFileSync, existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { capture } from '../setup/exec.mjs';
import { addonPath, ensureAddon, ensureNativeTests, ensurePlugin, nvcc } from '../setup/native.mjs';
import { binOf } from '../setup/paths.mjs';
import { SetupError } from '../setup/say.mjs';
import { runChild } from './child.mjs';
import { failed, readExitCode, readLastLine, readUvu } from './counts.mjs';
import { projectFiles, testFiles } from './files.mjs';

const PARALLEL = 2;
const SANITIZER_ENV = {
  ASAN_OPTIONS: 'detect_leaks=1:halt_on_error=1:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
};
// Node itself leaves memory behind at exit, and its allocator is not the sanitizer's.
const NODE_SANITIZER_ENV = { ASAN_OPTIONS: 'detect_leaks=0:halt_on_error=1', UBSAN_OPTIONS: SANITIZER_ENV.UBSAN_OPTIONS };

const isStatic = (name) => name.startsWith('test/architecture/');
const isParity = (name) => name.startsWith('test/parity/');
const isDocs = (name) => name.startsWith('test/docs/') || name.startsWith('test/setup/');
const isGpu = (name) => name.startsWith('test/gpu/');
// The engine on the device 'cuda', a GPU or the emulation.
const isCuda = (name) => name.startsWith('test/cuda/');
const isUnit = (name) => ![isStatic, isParity, isDocs, isGpu, isCuda].some((is) => is(name));
// What reads bytes from outside: these run a second time inside a sanitized process.
const isParser = (name) =>
  /^test\/(unit|fuzz)\/(.*\/)?[^/]*(checkpoint|safetensors|pth|pickle|zip|hostile|fuzz)[^/]*\.test\.ts$|^test\/unit\/checkpoint\//.test(
    name,
  );

async function static_({ root, tally }) {
  const node = (...args) => runChild(process.execPath, args, { cwd: root, timeoutS: 300 });
  const check = async (name, run) => tally.add(name, readExitCode(run), run);
  await check('generated files are fresh (npm run gen)', await node('scripts/gen-ops.mjs', '--check'));
  await check('types (tsc)', await node(binOf('typescript', 'tsc'), '-p', 'tsconfig.test.json'));
  await check('style and lint (biome)', await node(binOf('@biomejs/biome', 'biome'), 'check', '.'));
  await clangFormat({ root, tally });
  await runSuites({ root, tally }, testFiles(root, isStatic));
}

async function clangFormat({ root, tally }) {
  const name = 'native style (clang-format)';
  const files = projectFiles(root).filter(
    (file) => /^(native|cuda)\/.*\.(h|cpp|cu|cuh)$/.test(file) && !file.startsWith('native/abi/gen/'),
  );
  if (capture('clang-format', ['--version']) === null) return tally.skip(name, 'clang-format is not installed');
  const run = await runChild('clang-format', ['--dry-run', '-Werror', ...files], { cwd: root });
  tally.add(name, readExitCode(run), run);
}

async function native(context) {
  await nativeTests(context, { variant: 'release', label: '' });
}

async function sanitizers(context) {
  if (context.fast) return context.tally.skip('native tests under ASan and UBSan', '--fast');
  await nativeTests(context, { variant: 'sanitized', label: ' (ASan, UBSan)' });
  await sanitizedSuites(context);
}

async function nativeTests({ root, tally }, { variant, label }) {
  const programs = await orFailure(tally, `native tests${label}`, () => ensureNativeTests(root, { variant }));
  if (programs === null) return;
  if (programs.length === 0) tally.add(`native tests${label}`, failed('no native tests found'));
  for (const program of programs) {
    const run = await runChild(program, [], { cwd: root, timeoutS: 300, env: variant === 'sanitized' ? SANITIZER_ENV : {} });
    tally.add(`${program.slice(root.length + 1)}`, readLastLine(run), run);
  }
}

async function sanitizedSuites({ root, tally }) {
  const suites = testFiles(root, isParser);
  const label = 'parser suites under ASan and UBSan';
  const libraries = ['libasan.so', 'libubsan.so'].map((name) => capture('gcc', [`-print-file-name=${name}`])?.trim());
  if (!libraries.every((path) => path?.startsWith('/'))) return tally.skip(label, 'gcc has no libasan.so, libubsan.so');
  const addon = await orFailure(tally, label, () => ensureAddon(root, { variant: 'sanitized' }));
  if (addon === null) return;
  if (suites.length === 0) return tally.add(label, failed('no parser suites found'));
  const env = { ...NODE_SANITIZER_ENV, LD_PRELOAD: libraries.join(' '), NEXTSCALE_ADDON: addon };
  await runSuites({ root, tally }, suites, { env, slower: 4, label: ' (ASan, UBSan)' });
}

async function unit({ root, tally }) {
  await runSuites({ root, tally }, testFiles(root, isUnit));
  const gpu = testFiles(root, isGpu);
  if (gpu.length === 0) return;
  if (capture('nvidia-smi', ['-L'])) await runSuites({ root, tally }, gpu);
  else tally.skip('test/gpu', 'no NVIDIA GPU here (nvidia-smi -L)');
}

async function parity({ root, tally }) {
  await runSuites({ root, tally }, testFiles(root, isParity));
}

const EMULATED = 'CUDA kernels emulated on the host';

async function cuda(context) {
  await cudaCompiles(context);
  await cudaEmulated(context);
  await cudaOnDevice(context);
}

// Machines without a GPU see at least that nvcc takes every kernel for every target.
async function cudaCompiles({ root, tally }) {
  const name = 'cuda/ compiled by nvcc for every target, warnings are errors';
  if (!nvcc()) return tally.skip(name, 'nvcc is not installed');
  const built = await orFailure(tally, name, () => ensurePlugin(root, { variant: 'nvcc' }));
  if (built) tally.add(name, { passed: 1, failed: 0, skipped: 0 });
}

// The threads of a block take turns; another order of turns shows what only a lucky order hides.
async function cudaEmulated({ root, tally }) {
  const built = await orFailure(tally, EMULATED, () => ensurePlugin(root, { variant: 'emulated' }));
  const addon = await orFailure(tally, EMULATED, () => ensureAddon(root));
  if (built === null || addon === null) return;
  for (const program of built.programs) {
    const run = await runChild(program, [], { cwd: root, timeoutS: 300 });
    tally.add(program.slice(root.length + 1), readLastLine(run), run);
  }
  // The engine looks for plug-ins in the addon's folder.
  const copy = join(dirname(built.plugin), 'nextscale.node');
  copyFileSync(addon, copy);
  for (const order of ['ascending', 'shuffled:1']) {
    const env = { NEXTSCALE_ADDON: copy, NEXTSCALE_DEVICE: 'cuda', NEXTSCALE_EMULATION_ORDER: order };
    const suites = testFiles(root, (name) => isParity(name) || (isCuda(name) && order === 'ascending'));
    await runSuites({ root, tally }, suites, { env, label: ` (${EMULATED}, threads ${order})` });
  }
  const hopper = { NEXTSCALE_CUDA_HOPPER: '1', NEXTSCALE_OPS: 'attention', NEXTSCALE_EMULATION_ORDER: 'shuffled:1' };
  await runSuites(
    { root, tally },
    testFiles(root, (name) => name === 'test/parity/parity.test.ts'),
    {
      env: { NEXTSCALE_ADDON: copy, NEXTSCALE_DEVICE: 'cuda', ...hopper },
      label: ` (${EMULATED}, attention for sm_90a)`,
    },
  );
  await goldenCases({ root, tally }, goldenSet(root), {
    env: { NEXTSCALE_ADDON: copy, NEXTSCALE_DEVICE: 'cuda' },
    label: ` (${EMULATED})`,
  });
}

async function cudaOnDevice({ root, tally }) {
  const suites = testFiles(root, (name) => isParity(name) || isCuda(name));
  const options = { env: { NEXTSCALE_DEVICE: 'cuda', NEXTSCALE_ADDON: addonPath(root) }, label: ' on a CUDA device' };
  if (capture('nvidia-smi', ['-L'])) return runSuites({ root, tally }, suites, options);
  await runSuites({ root, tally }, suites, { ...options, reason: 'no NVIDIA GPU here (nvidia-smi -L)' });
}

async function docs({ root, tally }) {
  await runSuites({ root, tally }, testFiles(root, isDocs));
}

async function golden(context) {
  const shared = process.env.NEXTSCALE_GOLDEN ?? join(context.root, '..', 'shared', 'golden');
  await goldenCases(context, goldenSet(context.root));
  if (process.env.NEXTSCALE_GOLDEN || existsSync(shared)) await goldenCases(context, shared);
}

const goldenSet = (root) => join(root, 'test', 'golden', 'set');

async function goldenCases({ root, tally }, folder, { env, label = '' } = {}) {
  const args = ['--import', 'tsx', join('test', 'golden', 'run.ts'), folder];
  const run = await runChild(process.execPath, args, { cwd: root, env, timeoutS: 1200 });
  const skips = [...run.stdout.matchAll(/^(\S+) SKIP (.*)$/gm)].map((match) => match[1]);
  const shown = run.output
    .split('\n')
    .filter((line) => !/ (ok|SKIP .*)$/.test(line))
    .join('\n');
  tally.add(
    `golden ${folder}${label}`,
    { ...readLastLine(run), reason: `${skips.length} cases: ${skips.join(', ')}` },
    { ...run, output: shown },
  );
}

async function runSuites({ root, tally }, suites, { env, slower = 1, label = '', reason } = {}) {
  if (suites.length === 0) return tally.add('suites', failed('no suites found'));
  const runOne = async ({ name, timeoutS }) => {
    const run = await runChild(process.execPath, ['--import', 'tsx', name], { cwd: root, env, timeoutS: timeoutS * slower });
    const counts = readUvu(run);
    tally.add(name + label, reason ? { ...counts, reason: `${counts.skipped} cases: ${reason}` } : counts, run);
  };
  const waiting = suites.filter((suite) => !suite.alone);
  const lane = async () => {
    for (let suite = waiting.shift(); suite; suite = waiting.shift()) await runOne(suite);
  };
  await Promise.all(Array.from({ length: PARALLEL }, lane));
  for (const suite of suites.filter((each) => each.alone)) await runOne(suite);
}

// A build that fails is one failed test of its stage; the other stages still run.
async function orFailure(tally, name, build) {
  try {
    return await build();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    tally.add(name, failed(error.message));
    return null;
  }
}

export const STAGES = { static: static_, native, sanitize: sanitizers, unit, parity, cuda, golden, docs };
