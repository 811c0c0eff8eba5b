// One set-up at a time per checkout: a folder is the lock, a file in it names the owner.
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { say } from './say.mjs';

const OWNER_WRITE_MS = 5000;

/** Runs `fn` while holding the lock; waits for another live owner, takes over from a dead one. */
export async function withLock(path, fn) {
  await acquire(path);
  const release = () => rmSync(path, { recursive: true, force: true });
  process.once('exit', release);
  try {
    return await fn();
  } finally {
    process.off('exit', release);
    release();
  }
}

async function acquire(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; ) {
    try {
      mkdirSync(path);
      writeFileSync(join(path, 'pid'), String(process.pid));
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    if (isAbandoned(path)) {
      takeAway(path);
      continue;
    }
    if (!told) say('waiting for another nextscale set-up in this folder to finish');
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// Renaming first makes the removal atomic: of two waiters only one takes the old lock away.
function takeAway(path) {
  const aside = `${path}.${process.pid}.${Date.now()}`;
  try {
    renameSync(path, aside);
    rmSync(aside, { recursive: true, force: true });
  } catch {}
}

function isAbandoned(path) {
  try {
    const pid = Number(readFileSync(join(path, 'pid'), 'utf8'));
    if (pid > 0) return !isAlive(pid);
  } catch {}
  try {
    return Date.now() - statSync(path).mtimeMs > OWNER_WRITE_MS;
  } catch {
    return false;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
