import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { step } from './exec.mjs';
import { hashOf, readStamp, writeStamp } from './hash.mjs';
import { say, seconds } from './say.mjs';

/** Runs `npm ci` when node_modules does not hold what package-lock.json says. */
export async function ensurePackages(root) {
  const stamp = join(root, 'node_modules', '.nextscale-lock');
  const wanted = hashOf(root, ['package-lock.json']);
  if (readStamp(stamp) === wanted) return;
  if (!isInstalled(root)) {
    const since = Date.now();
    say('installing the Node packages (npm ci)');
    // The addon is built by its own step afterwards, hence no build from the install script here.
    const args = ['ci', '--prefer-offline', '--no-audit', '--no-fund', '--include=dev'];
    await step('npm', args, {
      what: 'npm ci',
      cwd: root,
      env: { NEXTSCALE_SKIP_BUILD: '1' },
      cure: 'npm ci needs a package registry or a filled npm cache',
    });
    say(`packages installed in ${seconds(since)}`);
  }
  writeStamp(stamp, wanted);
}

// Covers a node_modules that npm itself brought up to date: npm keeps a copy of the lock file's packages in it.
function isInstalled(root) {
  const have = readLock(join(root, 'node_modules', '.package-lock.json'));
  const want = readLock(join(root, 'package-lock.json'));
  if (!have || !want) return false;
  return Object.entries(want.packages).every(([path, entry]) => {
    if (path === '' || (entry.optional && !have.packages[path])) return true;
    return have.packages[path]?.version === entry.version && existsSync(join(root, path));
  });
}

function readLock(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch {
    return null;
  }
}
