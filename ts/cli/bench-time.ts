// Timing of asynchronous work: repeated until it is long enough to measure, the median of rounds.
import { execFileSync } from 'node:child_process';
import os from 'node:os';
import { ROOT } from './doctor-native.js';

export interface Timing {
  /** milliseconds per run */
  min: number;
  median: number;
  max: number;
  rounds: number;
  /** runs per round */
  runs: number;
}

export interface TimeOptions {
  rounds: number;
  /** shortest round in milliseconds */
  minMs: number;
  signal: AbortSignal;
}

export function median(values: readonly number[]): number {
  const s = [...values].sort((a, b) => a - b);
  const mid = s.length >> 1;
  return s.length % 2 ? s[mid]! : (s[mid - 1]! + s[mid]!) / 2;
}

/** Times round(n), which does the work n times and waits for it. */
export async function timeRounds(round: (n: number) => Promise<void>, { rounds, minMs, signal }: TimeOptions): Promise<Timing> {
  const measure = async (n: number): Promise<number> => {
    signal.throwIfAborted();
    const start = performance.now();
    await round(n);
    return performance.now() - start;
  };
  await measure(1);
  let runs = 1;
  for (let ms = await measure(runs); ms < minMs && runs < 65536; ms = await measure(runs)) {
    runs = Math.min(65536, Math.max(runs + 1, Math.ceil((1.2 * minMs * runs) / Math.max(ms, 0.01))));
  }
  const times: number[] = [];
  for (let i = 0; i < rounds; i++) times.push((await measure(runs)) / runs);
  return { min: Math.min(...times), median: median(times), max: Math.max(...times), rounds, runs };
}

/** Commit of the checkout, with a plus when it has changes; undefined for an installed package. */
function commit(): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-C', ROOT, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    return `${git('rev-parse', '--short=12', 'HEAD')}${git('status', '--porcelain', '--untracked-files=no') ? '+' : ''}`;
  } catch {
    return undefined;
  }
}

/** What every line of results carries: where and on what it was measured. */
export function environment(device: string, threads: number): Record<string, unknown> {
  return { device, threads, cpu: os.cpus()[0]?.model.trim(), node: process.version, commit: commit(), time: new Date().toISOString() };
}
