import { existsSync, readdirSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { step } from './exec.mjs';
import { hashOf, readStamp, writeStamp } from './hash.mjs';
import { binOf, versionOf } from './paths.mjs';
import { SetupError, say, seconds } from './say.mjs';
import { ensureToolchain } from './system.mjs';

const STAMP = '.nextscale-hash';
const jobs = String(process.env.NEXTSCALE_JOBS ?? availableParallelism());

export function addonPath(root, folder = 'build') {
  return join(root, folder, 'Release', 'nextscale.node');
}

function addonHash(root, sanitize) {
  const facts = [
    root,
    process.platform,
    process.arch,
    versionOf('node-addon-api'),
    versionOf('cmake-js'),
    `sanitize=${sanitize}`,
    process.env.CXX ?? '',
  ];
  return hashOf(root, ['CMakeLists.txt', 'native', 'cuda'], { facts, skip: (name) => name === 'native/test' });
}

export function isAddonFresh(root, { folder = 'build', sanitize = false } = {}) {
  return existsSync(addonPath(root, folder)) && readStamp(join(root, folder, STAMP)) === addonHash(root, sanitize);
}

/** Builds the addon with cmake-js when native/ or CMakeLists.txt differ from what the build folder was made of. */
export async function ensureAddon(root, { folder = 'build', sanitize = false, mayInstall = true } = {}) {
  if (isAddonFresh(root, { folder, sanitize })) return addonPath(root, folder);
  await ensureToolchain({ mayInstall });
  const hash = addonHash(root, sanitize);
  const since = Date.now();
  say(`building the native engine${sanitize ? ' with sanitizers' : ''} in ${folder}/ (cmake-js, ${jobs} jobs)`);
  const options = ['--log-level', 'error', '--out', join(root, folder), '--directory', root, '--parallel', jobs];
  if (sanitize) options.push('--CDNEXTSCALE_SANITIZE=ON');
  await cmakeStep(root, folder, async () => {
    for (const command of ['configure', 'build']) {
      await step(process.execPath, [binOf('cmake-js'), command, ...options], { what: `the native build (${command})`, cwd: root });
    }
  });
  if (!existsSync(addonPath(root, folder))) throw new SetupError(`the native build ended without ${addonPath(root, folder)}`);
  writeStamp(join(root, folder, STAMP), hash);
  say(`native engine built in ${seconds(since)}`);
  return addonPath(root, folder);
}

/** Builds the native tests (plain CMake, no Node) and returns the paths of the test programs. */
export async function ensureNativeTests(root, { folder, sanitize = false }) {
  const stamp = join(root, folder, STAMP);
  const hash = hashOf(root, ['CMakeLists.txt', 'native'], { facts: [root, `sanitize=${sanitize}`, process.env.CXX ?? ''] });
  if (readStamp(stamp) !== hash) {
    await ensureToolchain();
    const since = Date.now();
    say(`building the native tests${sanitize ? ' with sanitizers' : ''} in ${folder}/`);
    const options = ['-DNEXTSCALE_TESTS=ON', `-DNEXTSCALE_SANITIZE=${sanitize ? 'ON' : 'OFF'}`];
    await cmakeStep(root, folder, async () => {
      await step('cmake', ['-S', root, '-B', join(root, folder), ...options], { what: 'configuring the native tests' });
      await step('cmake', ['--build', join(root, folder), '--parallel', jobs], { what: 'building the native tests' });
    });
    writeStamp(stamp, hash);
    say(`native tests built in ${seconds(since)}`);
  }
  const names = new Set(
    readdirSync(join(root, 'native', 'test'))
      .filter((name) => /^test_.*\.cpp$/.test(name))
      .map((name) => name.slice(0, -4)),
  );
  return [...names].sort().map((name) => join(root, folder, name));
}

// A build folder that was configured at another path or with another tool chain cannot be reused: start it anew once.
async function cmakeStep(root, folder, build) {
  const cache = join(root, folder, 'CMakeCache.txt');
  const home = readStamp(cache)?.match(/^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m)?.[1];
  if (home !== undefined && home !== root) rmSync(join(root, folder), { recursive: true, force: true });
  rmSync(join(root, folder, STAMP), { force: true });
  await build();
}
