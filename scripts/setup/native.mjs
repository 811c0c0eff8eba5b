import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { step } from './exec.mjs';
import { hashOf, readStamp, writeStamp } from './hash.mjs';
import { withLock } from './lock.mjs';
import { binOf, versionOf } from './paths.mjs';
import { SetupError, say, seconds } from './say.mjs';
import { ensureToolchain } from './system.mjs';

const jobs = String(process.env.NEXTSCALE_JOBS ?? availableParallelism());

/** A build folder holds the addon and, once asked for, the native tests, made of the same objects; each has its stamp. */
const VARIANTS = {
  release: { folder: 'build', sanitize: false, label: '' },
  sanitized: { folder: 'build-asan', sanitize: true, label: ' with sanitizers' },
};

export function addonPath(root, variant = 'release') {
  return join(root, VARIANTS[variant].folder, 'Release', 'nextscale.node');
}

function hashes(root, { sanitize }) {
  const facts = [
    root,
    process.platform,
    process.arch,
    versionOf('node-addon-api'),
    versionOf('cmake-js'),
    `sanitize=${sanitize}`,
    process.env.CXX ?? '',
  ];
  return {
    addon: hashOf(root, ['CMakeLists.txt', 'native', 'cuda'], { facts, skip: (name) => name === 'native/test' }),
    tests: hashOf(root, ['CMakeLists.txt', 'native', 'cuda'], { facts }),
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

async function ensureBuilt(root, options) {
  await withLock(join(root, '.cache', `${options.folder}.lock`), () => buildIfStale(root, options));
}

async function buildIfStale(root, { folder, sanitize, label, what, isThere, mayInstall }) {
  const stamp = (name) => join(root, folder, `.nextscale-${name}`);
  const hash = hashes(root, { sanitize });
  if (isThere() && readStamp(stamp(what)) === hash[what]) return;
  await ensureToolchain({ mayInstall });
  const since = Date.now();
  say(`building the native ${what === 'tests' ? 'tests' : 'engine'}${label} in ${folder}/ (cmake-js, ${jobs} jobs)`);
  dropForeign(root, folder);
  rmSync(stamp(what), { force: true });
  const options = ['--log-level', 'error', '--out', join(root, folder), '--directory', root, '--parallel', jobs];
  options.push(`--CDNEXTSCALE_SANITIZE=${sanitize ? 'ON' : 'OFF'}`, `--CDNEXTSCALE_TESTS=${what === 'tests' ? 'ON' : 'OFF'}`);
  for (const command of ['configure', 'build']) {
    await step(process.execPath, [binOf('cmake-js'), command, ...options], { what: `the native build (${command})`, cwd: root });
  }
  writeStamp(stamp('addon'), hash.addon);
  if (what === 'tests') writeStamp(stamp('tests'), hash.tests);
  say(`built in ${seconds(since)}`);
}

// CMake refuses a build folder that was configured at another path, for example one that was copied along.
function dropForeign(root, folder) {
  const cache = join(root, folder, 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, 'utf8'))?.[1];
  if (home !== root) rmSync(join(root, folder), { recursive: true, force: true });
}
