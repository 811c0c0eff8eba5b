// What the native build needs from the system, how to see whether it is there, and what to type where it is not.
import { capture, step } from './exec.mjs';
import { SetupError, say } from './say.mjs';

const CMAKE_MIN = [3, 18];

const NEEDS = [
  { what: 'CMake 3.18 or newer', found: hasCmake, packages: { apt: 'cmake', dnf: 'cmake', pacman: 'cmake', apk: 'cmake', brew: 'cmake' } },
  { what: 'a C++17 compiler', found: hasCompiler, packages: { apt: 'g++', dnf: 'gcc-c++', pacman: 'gcc', apk: 'g++', brew: 'gcc' } },
  { what: 'make or ninja', found: hasMake, packages: { apt: 'make', dnf: 'make', pacman: 'make', apk: 'make', brew: 'ninja' } },
  {
    what: 'Google Highway (headers and library)',
    found: hasHighway,
    packages: { apt: 'libhwy-dev', dnf: 'highway-devel', pacman: 'highway', apk: 'highway-dev', brew: 'highway' },
    fromSource:
      'git clone --depth 1 --branch 1.2.0 https://github.com/google/highway && cmake -S highway -B highway/build ' +
      '-DBUILD_TESTING=OFF -DHWY_ENABLE_EXAMPLES=OFF -DHWY_ENABLE_CONTRIB=OFF -DCMAKE_POSITION_INDEPENDENT_CODE=ON ' +
      '&& sudo cmake --build highway/build --target install',
  },
];

const MANAGERS = {
  apt: { probe: 'apt-get', install: 'apt-get install -y --no-install-recommends' },
  dnf: { probe: 'dnf', install: 'dnf install -y' },
  pacman: { probe: 'pacman', install: 'pacman -S --noconfirm' },
  apk: { probe: 'apk', install: 'apk add' },
  brew: { probe: 'brew', install: 'brew install', unprivileged: true },
};

function hasCmake() {
  const match = /version (\d+)\.(\d+)/.exec(capture('cmake', ['--version']) ?? '');
  return match !== null && (Number(match[1]) > CMAKE_MIN[0] || (Number(match[1]) === CMAKE_MIN[0] && Number(match[2]) >= CMAKE_MIN[1]));
}

function compiler() {
  return [process.env.CXX, 'c++', 'g++', 'clang++'].find((name) => name && capture(name, ['--version']) !== null);
}

function hasCompiler() {
  return compiler() !== undefined;
}

function hasMake() {
  return ['ninja', 'make'].some((name) => capture(name, ['--version']) !== null);
}

function hasHighway() {
  if (process.env.hwy_DIR || process.env.CMAKE_PREFIX_PATH) return true;
  const cxx = compiler();
  return (
    cxx !== undefined && capture(cxx, ['-std=c++17', '-x', 'c++', '-E', '-include', 'hwy/base.h', '/dev/null', '-o', '/dev/null']) !== null
  );
}

export function missingNeeds() {
  return NEEDS.filter((need) => !need.found());
}

/** The command that installs `needs` here, without privileges prefix; null where no known package manager is found. */
export function installCommand(needs, manager = findManager()) {
  return manager === null ? null : `${MANAGERS[manager].install} ${needs.map((need) => need.packages[manager]).join(' ')}`;
}

function findManager() {
  return Object.keys(MANAGERS).find((name) => capture(MANAGERS[name].probe, ['--version']) !== null) ?? null;
}

/** The message for a machine where the set-up may not or cannot install: what is missing and what to type. */
export function cureFor(needs, manager = findManager()) {
  const lines = [`missing: ${needs.map((need) => need.what).join(', ')}`];
  const command = installCommand(needs, manager);
  if (command) lines.push('install it with:', `  ${MANAGERS[manager].unprivileged ? '' : 'sudo '}${command}`);
  const source = needs.find((need) => need.fromSource);
  if (source)
    lines.push(
      `${command ? 'where that package does not exist' : 'no known package manager was found; from source'}:`,
      `  ${source.fromSource}`,
    );
  return lines.join('\n');
}

function privilege() {
  if (process.getuid?.() === 0) return [];
  return capture('sudo', ['-n', 'true']) === null ? null : ['sudo', '-n'];
}

/** Makes sure that the tool chain is there. `mayInstall` false: never installs, throws the cure. */
export async function ensureToolchain({ mayInstall = true } = {}) {
  const needs = missingNeeds();
  if (needs.length === 0) return;
  const manager = findManager();
  const prefix = privilege();
  if (!mayInstall || manager !== 'apt' || prefix === null) throw new SetupError(cureFor(needs, manager));
  const names = needs.map((need) => need.packages.apt);
  await aptInstall(prefix, names, cureFor(needs, manager));
  const still = missingNeeds();
  if (still.length > 0) throw new SetupError(cureFor(still, manager));
}

async function aptInstall(prefix, names, cure) {
  const [command, ...rest] = [...prefix, 'apt-get'];
  const install = [...rest, 'install', '-y', '--no-install-recommends', ...names];
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  say(`installing ${names.join(', ')} (${[command, ...install].join(' ')})`);
  const known = names.every((name) => /Candidate: (?!\(none\))\S/.test(capture('apt-cache', ['policy', name]) ?? ''));
  if (!known) await step(command, [...rest, 'update'], { what: 'apt-get update', env, cure });
  try {
    if (known) return await step(command, install, { what: 'apt-get install', env });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say('apt-get install failed; refreshing the package lists and trying once more');
    await step(command, [...rest, 'update'], { what: 'apt-get update', env, cure });
  }
  await step(command, install, { what: 'apt-get install', env, cure });
}
