import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * Content hash of files and folders (names and bytes), plus any further facts the result depends on.
 * @param {string} base @param {string[]} names @param {{ facts?: string[], skip?: (name: string) => boolean }} [options]
 */
export function hashOf(base, names, { facts = [], skip = () => false } = {}) {
  const hash = createHash('sha256');
  for (const name of names) addPath(hash, base, name, skip);
  for (const fact of facts) hash.update(`\0fact\0${fact}`);
  return hash.digest('hex');
}

function addPath(hash, base, name, skip) {
  const path = join(base, name);
  if (skip(name) || !existsSync(path)) return;
  if (statSync(path).isDirectory()) {
    for (const entry of readdirSync(path).sort()) addPath(hash, base, `${name}/${entry}`, skip);
    return;
  }
  hash.update(`\0file\0${name}\0`);
  hash.update(readFileSync(path));
}

export function readStamp(path) {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

export function writeStamp(path, value) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, `${value}\n`);
}
