import { spawn } from 'node:child_process';

const KEPT_BYTES = 4 << 20;
const running = new Set();

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  process.on(signal, () => {
    for (const child of running) killGroup(child);
    process.exit(code);
  });
}

// The child leads a process group of its own, so that what it started ends with it.
function killGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {}
}

/**
 * Runs a program with its output kept. Never rejects: a program that cannot start or runs too long is a result too.
 * @param {string} command @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string>, timeoutS?: number }} [options]
 * @returns {Promise<{ code: number, problem: string | null, stdout: string, output: string, seconds: number }>}
 */
export function runChild(command, args, { cwd, env, timeoutS = 120 } = {}) {
  return new Promise((resolve) => {
    const since = Date.now();
    const child = spawn(command, args, {
      cwd,
      env: { ...process.env, NO_COLOR: '1', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    const chunks = { stdout: [], stderr: [], both: [] };
    let kept = 0;
    let problem = null;
    running.add(child);
    const timer = setTimeout(() => {
      problem = `still running after ${timeoutS} s, killed`;
      killGroup(child);
    }, timeoutS * 1000);
    for (const name of ['stdout', 'stderr']) {
      child[name].on('data', (chunk) => {
        kept += chunk.length;
        if (kept > KEPT_BYTES) return;
        chunks[name].push(chunk);
        chunks.both.push(chunk);
      });
    }
    child.on('error', (error) => {
      problem = `cannot start ${command}: ${error.message}`;
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      killGroup(child);
      if (!problem && signal) problem = `killed by ${signal}`;
      const text = (name) => Buffer.concat(chunks[name]).toString();
      resolve({ code: code ?? -1, problem, stdout: text('stdout'), output: text('both'), seconds: (Date.now() - since) / 1000 });
    });
  });
}
