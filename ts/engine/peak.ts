import { checkInt, checkOptions } from '../core/check.js';
import { loadAddon } from './loader.js';

/** What floors are stated against; all threads together. */
export interface MachinePeak {
  /** f32 operations per second from registers, a fused multiply-add counted as two. */
  readonly flops: number;
  /** Sequential reads from a buffer that no cache holds. */
  readonly bytesPerSecond: number;
  readonly threads: number;
  /** SIMD target. */
  readonly target: string;
}

/** Measures the machine, blocking for some tenths of a second; the best of `rounds` counts. threads 0: all cores. */
export function measurePeak(options: { threads?: number; bytes?: number; rounds?: number } = {}): MachinePeak {
  checkOptions('measurePeak', options, ['threads', 'bytes', 'rounds']);
  const threads = checkInt('threads', options.threads ?? 0, 0, 1024);
  const bytes = checkInt('bytes', options.bytes ?? 2 ** 28, 2 ** 20, 2 ** 33);
  return loadAddon().peak(threads, bytes, checkInt('rounds', options.rounds ?? 5, 1, 1000));
}
