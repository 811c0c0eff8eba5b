// What the machine offers: processor, cores, memory, C library, build tools. Reads files only, fails never.
import { execFileSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import os from 'node:os';
import { delimiter, join } from 'node:path';

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** Full path of a program in PATH (or in the extra folders), if there is one. */
export function which(name: string, extra: readonly string[] = []): string | undefined {
  for (const dir of [...(process.env.PATH ?? '').split(delimiter), ...extra]) {
    if (!dir) continue;
    try {
      accessSync(join(dir, name), constants.X_OK);
      return join(dir, name);
    } catch {}
  }
  return undefined;
}

/** What a program prints, or undefined when it cannot run. */
export function outputOf(program: string, args: readonly string[]): string | undefined {
  try {
    return execFileSync(program, args, { encoding: 'utf8', timeout: 10_000, stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined;
  }
}

export function firstLine(program: string, args: readonly string[]): string | undefined {
  return outputOf(program, args)?.split('\n')[0]?.trim();
}

const CPU_FLAGS = ['sse4_2', 'avx', 'avx2', 'fma', 'f16c', 'avx512f', 'avx512bw', 'avx512_bf16', 'amx_tile', 'asimd', 'asimdhp', 'sve'];

export function cpu(): { model: string; features: string[] } {
  const info = readText('/proc/cpuinfo') ?? '';
  const flags = new Set((/^(?:flags|Features)\s*:\s*(.*)$/m.exec(info)?.[1] ?? '').split(/\s+/));
  return { model: os.cpus()[0]?.model.trim() ?? os.arch(), features: CPU_FLAGS.filter((f) => flags.has(f)) };
}

/** The processor time a control group grants, in cores; undefined without a limit (cgroup v2 cpu.max, v1 cfs quota). */
export function cgroupCores(): number | undefined {
  const group = /^0::(\/.*)$/m.exec(readText('/proc/self/cgroup') ?? '')?.[1] ?? '/';
  for (const path of [join('/sys/fs/cgroup', group, 'cpu.max'), '/sys/fs/cgroup/cpu.max']) {
    const m = /^(\d+) (\d+)/.exec(readText(path) ?? '');
    if (m) return Number(m[1]) / Number(m[2]);
  }
  const quota = Number(readText('/sys/fs/cgroup/cpu/cpu.cfs_quota_us') ?? -1);
  const period = Number(readText('/sys/fs/cgroup/cpu/cpu.cfs_period_us') ?? 0);
  return quota > 0 && period > 0 ? quota / period : undefined;
}

export function cores(): { cores: number; available: number; cgroupLimit?: number; usable: number } {
  const limit = cgroupCores();
  const available = os.availableParallelism();
  const usable = Math.max(1, Math.min(available, limit === undefined ? available : Math.floor(limit)));
  return { cores: os.cpus().length, available, ...(limit === undefined ? {} : { cgroupLimit: limit }), usable };
}

/** Bytes: what the machine has, what is free now (MemAvailable), what the control group allows. */
export function memory(): { total: number; available: number; limit?: number; shm?: number } {
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(readText('/proc/meminfo') ?? '')?.[1];
  const total = os.totalmem();
  const constrained = process.constrainedMemory?.() ?? 0;
  const limit = constrained > 0 && constrained < total ? constrained : undefined;
  return { total, available: Math.min(kib ? Number(kib) * 1024 : os.freemem(), limit ?? total), ...(limit ? { limit } : {}) };
}

/** Free bytes of the file system that holds a folder. */
export function freeDisk(path: string): number | undefined {
  try {
    const s = statfsSync(path);
    return s.bavail * s.bsize;
  } catch {
    return undefined;
  }
}

/** Version of the GNU C library Node runs on; undefined on musl. */
export function glibc(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  return report?.header?.glibcVersionRuntime;
}

/** Build tools found, with their versions; hwy: the headers of Google Highway. */
export function tools(): Record<'cmake' | 'gxx' | 'npm' | 'hwy', string | undefined> {
  const version = (name: string): string | undefined => (which(name) ? firstLine(name, ['--version']) : undefined);
  const hwy = ['/usr/include', '/usr/local/include'].map((d) => join(d, 'hwy', 'highway.h')).find((f) => existsSync(f));
  return { cmake: version('cmake'), gxx: version('g++') ?? version('clang++'), npm: version('npm'), hwy };
}
