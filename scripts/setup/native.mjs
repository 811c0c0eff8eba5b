import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { capture, step } from './exec.mjs';
import { hashOf, readStamp, writeStamp } from './hash.mjs';
import { withLock } from './lock.mjs';
import { binOf, versionOf } from './paths.mjs';
import { SetupError, say, seconds } from './say.mjs';
import { ensureToolchain } from './system.mjs';

const jobs = String(process.env.NEXTSCALE_JOBS ?? availableParallelism());

/**
 * A build folder holds the addon and, once asked for, the native tests, made of the same objects; each has its stamp. The last two hold the
 * CUDA plug-in alone: its kernels with cuda/emulation in place of a GPU and the tests of them, or compiled by nvcc for every target.
 */
const VARIANTS = {
  release: { folder: 'build', label: '', options: ['NEXTSCALE_SANITIZE=OFF'], facts: cudaFacts },
  sanitized: { folder: 'build-asan', label: ' with sanitizers', options: ['NEXTSCALE_SANITIZE=ON', 'NEXTSCALE_CUDA=OFF'] },
  emulated: {
    folder: 'build-emulated',
    label: ' (CUDA emulated)',
    options: ['NEXTSCALE_EMULATE=ON', 'NEXTSCALE_ADDON=OFF'],
    facts: cpuFacts,
  },
  nvcc: { folder: 'build-cuda', label: ' (CUDA)', options: ['NEXTSCALE_CUDA=ON', 'NEXTSCALE_ADDON=OFF'], facts: nvccFacts },
};

// What decides whether the plug-in is built, and how.
function cudaFacts() {
  return [...nvccFacts(), `gpu=${capture('nvidia-smi', ['-L']) !== null}`];
}

export function nvcc() {
  const names = [process.env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc'];
  return names.find((name) => name && capture(name, ['--version']) !== null);
}

function nvccFacts() {
  const found = nvcc();
  return [`nvcc=${found ? capture(found, ['--version']) : ''}`];
}

// The emulation is compiled for the processor it runs on.
function cpuFacts() {
  return [cpus()[0]?.model ?? ''];
}

export function addonPath(root, variant = 'release') {
  return join(root, VARIANTS[variant].folder, 'Release', 'nextscale.node');
}

function hashes(root, { options, facts: more }) {
  const facts = [
    root,
    process.platform,
    process.arch,
    versionOf('node-addon-api'),
    versionOf('cmake-js'),
    ...options,
    ...(more?.() ?? []),
    process.env.CXX ?? '',
  ];
  const onlyTests = ['native/test', 'cuda/test', 'cuda/emulation'];
  return {
    addon: hashOf(root, ['CMakeLists.txt', 'native', 'cuda'], { facts, skip: (name) => onlyTests.includes(name) }),
    tests: hashOf(root, ['CMakeLists.txt', 'native', 'cuda'], { facts }),
    plugin: hashOf(root, ['CMakeLists.txt', 'native/abi', 'native/test', 'cuda'], { facts }),
  };
}

/** Builds the addon with cmake-js when native/ or CMakeLists.txt differ from what the build folder was made of. */
export async function ensureAddon(root, { variant = 'release', mayInstall = true } = {}) {
  const addon = addonPath(root, variant);
  await ensureBuilt(root, { ...VARIANTS[variant], what: 'addon', isThere: () => existsSync(addon), mayInstall });
  if (!existsSync(addon)) throw new SetupError(`the native build ended without ${addon}`);
  return addon;
}

/** Builds the native tests and returns the paths of the test programs. */
export async function ensureNativeTests(root, { variant = 'release' } = {}) {
  const { folder } = VARIANTS[variant];
  const names = readdirSync(join(root, 'native', 'test')).filter((name) => /^test_.*\.cpp$/.test(name));
  const programs = names.sort().map((name) => join(root, folder, name.slice(0, -'.cpp'.length)));
  await ensureBuilt(root, {
    ...VARIANTS[variant],
    what: 'tests',
    isThere: () => programs.every((path) => existsSync(path)),
    mayInstall: true,
  });
  return programs;
}

/** Builds the CUDA plug-in, emulated or with nvcc. Returns its path and, emulated, the paths of the test programs. */
export async function ensurePlugin(root, { variant }) {
  const { folder } = VARIANTS[variant];
  const plugin = join(root, folder, 'Release', 'nextscale_cuda.so');
  const names = readdirSync(join(root, 'cuda', 'test')).filter((name) => variant === 'emulated' && /^test_.*\.cpp$/.test(name));
  const programs = names.sort().map((name) => join(root, folder, 'cuda', `cuda_${name.slice(0, -'.cpp'.length)}`));
  const isThere = () => [plugin, ...programs].every((path) => existsSync(path));
  await ensureBuilt(root, { ...VARIANTS[variant], what: 'plugin', isThere, mayInstall: true });
  return { plugin, programs };
}

async function ensureBuilt(root, options) {
  await withLock(join(root, '.cache', `${options.folder}.lock`), () => buildIfStale(root, options));
}

async function buildIfStale(root, { folder, options: defines, facts, label, what, isThere, mayInstall }) {
  const stamp = (name) => join(root, folder, `.nextscale-${name}`);
  const hash = hashes(root, { options: defines, facts });
  if (isThere() && readStamp(stamp(what)) === hash[what]) return;
  await ensureToolchain({ mayInstall });
  const since = Date.now();
  say(`building the native ${{ tests: 'tests', addon: 'engine', plugin: 'plug-in' }[what]}${label} in ${folder}/ (cmake-js, ${jobs} jobs)`);
  dropForeign(root, folder);
  rmSync(stamp(what), { force: true });
  const options = ['--log-level', 'error', '--out', join(root, folder), '--directory', root, '--parallel', jobs];
  options.push(...defines.map((define) => `--CD${define}`), `--CDNEXTSCALE_TESTS=${what === 'tests' ? 'ON' : 'OFF'}`);
  if (nvcc()) options.push(`--CDCMAKE_CUDA_COMPILER=${nvcc()}`);
  for (const command of ['configure', 'build']) {
    await step(process.execPath, [binOf('cmake-js'), command, ...options], { what: `the native build (${command})`, cwd: root });
  }
  if (what !== 'plugin') writeStamp(stamp('addon'), hash.addon);
  if (what !== 'addon') writeStamp(stamp(what), hash[what]);
  say(`built in ${seconds(since)}`);
}

// CMake refuses a build folder that was configured at another path, for example one that was copied along.
function dropForeign(root, folder) {
  const cache = join(root, folder, 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (home !== root) rmSync(join(root, folder), { recursive: true, force: true });
}
