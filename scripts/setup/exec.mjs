import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.mjs';
import { SetupError } from './say.mjs';

const SHOWN_LINES = 60;

/** Output of a short command, or null when it is missing or fails. */
export function capture(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], ...options });
  return result.status === 0 ? result.stdout : null;
}

/**
 * Runs a set-up step. Its output is kept; when it fails the end is shown on stderr and the whole is written to .cache/.
 * With NEXTSCALE_VERBOSE=1 everything is shown at once.
 */
export async function step(command, args, { what, cwd, env, cure } = {}) {
  const verbose = process.env.NEXTSCALE_VERBOSE === '1';
  const child = spawn(command, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['ignore', verbose ? 2 : 'pipe', verbose ? 2 : 'pipe'],
  });
  const kept = [];
  child.stdout?.on('data', (chunk) => kept.push(chunk));
  child.stderr?.on('data', (chunk) => kept.push(chunk));
  const code = await finished(child, command);
  if (code === 0) return;
  showEnd(Buffer.concat(kept).toString());
  throw new SetupError(`${what ?? command} failed (exit code ${code}): ${[command, ...args].join(' ')}${cure ? `\n${cure}` : ''}`);
}

function showEnd(output) {
  const lines = output.trimEnd().split('\n');
  process.stderr.write(`${lines.slice(-SHOWN_LINES).join('\n')}\n`);
  if (lines.length <= SHOWN_LINES) return;
  const log = join(root, '.cache', 'failed-step.log');
  mkdirSync(join(root, '.cache'), { recursive: true });
  writeFileSync(log, output);
  process.stderr.write(`(the last ${SHOWN_LINES} of ${lines.length} lines; all of them: ${log})\n`);
}

/** Runs a job on the terminal of the caller; signals reach it, its exit code comes back. */
export async function job(command, args, options = {}) {
  const child = spawn(command, args, { stdio: 'inherit', ...options });
  const ignore = () => {};
  const forward = () => child.kill('SIGTERM');
  process.on('SIGINT', ignore);
  process.on('SIGTERM', forward);
  try {
    return await finished(child, command);
  } finally {
    process.off('SIGINT', ignore);
    process.off('SIGTERM', forward);
  }
}

function finished(child, command) {
  return new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new SetupError(`cannot start ${command}: ${error.message}`)));
    child.on('close', (code, signal) => resolve(signal ? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 6) : code));
  });
}
