// Broken and malicious files: refused with a CheckpointError that names the file, quickly, with nothing executed or changed.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../../ts/checkpoint/index.js';
import { CheckpointError } from '../../../ts/core/errors.js';
import { numbersOf } from '../../unit/checkpoint/numbers.js';
import type { Check, KindRunner } from '../kind.js';

interface HostileCase {
  files: { file: string; expect: string }[];
  valid: { file: string; values: Record<string, unknown> }[];
  marker: string;
}

/** Generous against a loaded machine; the files take a few milliseconds. */
const MAX_MS = 2000;
const PROTOTYPES = [Object.prototype, Array.prototype, Map.prototype, Function.prototype, String.prototype];

function prototypeState(): string {
  return PROTOTYPES.map((p) => Object.getOwnPropertyNames(p).sort().join()).join('|');
}

function check(tensor: string, ok: boolean): Check {
  return { tensor, maxAbsErr: ok ? 0 : 1, tolerance: 0, ok };
}

/** 'load', 'refuse', or what went wrong instead. */
async function outcome(path: string): Promise<string> {
  try {
    const checkpoint = await openCheckpoint(path);
    for (const key of checkpoint.keys()) await checkpoint.bytes(key);
    return 'load';
  } catch (error) {
    if (!(error instanceof CheckpointError) || error.cause !== undefined) return `threw ${error}`;
    return error.file === path && error.message.includes(path) ? 'refuse' : `an error that does not name the file: ${error.message}`;
  }
}

async function equalValues(path: string, values: Record<string, unknown>): Promise<boolean> {
  const checkpoint = await openCheckpoint(path, { root: '' });
  if (checkpoint.keys().sort().join('\n') !== Object.keys(values).sort().join('\n')) return false;
  for (const [key, want] of Object.entries(values)) {
    const { dtype, shape } = checkpoint.info(key);
    const got = numbersOf(await checkpoint.bytes(key), dtype);
    const flat = (Array.isArray(want) ? want.flat(Number.POSITIVE_INFINITY) : [want]) as unknown[];
    if (got.length !== flat.length || got.some((value, i) => String(value) !== String(flat[i]))) return false;
    if (!Array.isArray(want) && shape.length !== 0) return false;
  }
  return true;
}

export const run: KindRunner = async (c) => {
  const { files, valid, marker } = c.json as unknown as HostileCase;
  const before = prototypeState();
  const checks: Check[] = [];
  for (const { file, expect } of files) {
    const start = performance.now();
    const got = await outcome(join(c.dir, file));
    const allowed = got === 'refuse' ? expect.includes('refuse') : got === 'load' && expect.includes('load');
    checks.push(check(file, allowed && performance.now() - start < MAX_MS));
  }
  for (const { file, values } of valid) checks.push(check(file, await equalValues(join(c.dir, file), values).catch(() => false)));
  checks.push(check('nothing-executed', !existsSync(marker) && !existsSync(join(c.dir, marker))));
  checks.push(check('nothing-changed', prototypeState() === before));
  return checks;
};
