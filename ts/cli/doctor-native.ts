// The native parts: addon, image library, CUDA. Everything that can crash is loaded in a child process.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonPath, type NativeInfo } from '../engine/index.js';
import { firstLine, outputOf, which } from './doctor-host.js';

export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

export interface Probe<T> {
  ok: boolean;
  value?: T;
  error?: string;
}

/** Runs doctor-probe in a child; a crash, a hang and an exception all come back as an error text. */
export function probe<T>(args: readonly string[], signal: AbortSignal, timeoutMs = 30_000): Promise<Probe<T>> {
  const script = fileURLToPath(new URL(`./doctor-probe${extname(import.meta.url)}`, import.meta.url));
  return new Promise((done) => {
    const child = spawn(process.execPath, [...process.execArgv, script, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      signal,
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk;
    });
    child.on('error', (e) => done({ ok: false, error: e.message }));
    child.on('close', (code, killedBy) => {
      const last = out.trimEnd().split('\n').at(-1) ?? '';
      if (code === 0 && last.startsWith('{')) done({ ok: true, value: JSON.parse(last) as T });
      else done({ ok: false, error: reason(code, killedBy, err, timeoutMs) });
    });
  });
}

function reason(code: number | null, killedBy: NodeJS.Signals | null, err: string, timeoutMs: number): string {
  if (killedBy === 'SIGTERM') return `no answer within ${timeoutMs / 1000} s`;
  if (killedBy)
    return `the process was ended by ${killedBy}${killedBy === 'SIGILL' ? ' (an instruction this processor does not have)' : ''}`;
  const line = err.split('\n').find((l) => /^\w*Error\b.*:/.test(l)) ?? err.trim().split('\n')[0] ?? '';
  return line.replace(/^Error: /, '').slice(0, 400) || `exit code ${code}`;
}

/** The newest versions of GLIBC and GLIBCXX that a binary asks for, read from its symbol version names. */
export function needs(file: string): { glibc?: string; glibcxx?: string } {
  const text = readFileSync(file, 'latin1');
  const newest = (prefix: string): string | undefined =>
    [...text.matchAll(new RegExp(`${prefix}_(\\d+(?:\\.\\d+)+)`, 'g'))]
      .map((m) => m[1]!)
      .sort(byVersion)
      .at(-1);
  return { glibc: newest('GLIBC'), glibcxx: newest('GLIBCXX') };
}

/** Compares dotted version numbers. */
export function byVersion(a: string, b: string): number {
  const [x, y] = [a, b].map((v) => v.split('.').map(Number)) as [number[], number[]];
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const d = (x[i] ?? 0) - (y[i] ?? 0);
    if (d !== 0) return d;
  }
  return 0;
}

export interface Cuda {
  /** The plug-in is there and finds a GPU. */
  found: boolean;
  nvcc?: string;
  driver?: string;
  gpus?: string;
  plugin?: string;
  /** The first thing that is missing. */
  reason?: string;
}

const LIBRARY_DIRS = [
  '/usr/lib/x86_64-linux-gnu',
  '/usr/lib/aarch64-linux-gnu',
  '/usr/lib64',
  '/usr/lib',
  '/usr/lib/wsl/lib',
  '/usr/local/cuda/compat',
];

/** CUDA as far as it can be told without using it. */
export function cuda(addon: NativeInfo | undefined): Cuda {
  const homes = [process.env.CUDA_HOME, process.env.CUDA_PATH, '/usr/local/cuda'].filter((d) => d !== undefined);
  const nvcc = which(
    'nvcc',
    homes.map((d) => join(d, 'bin')),
  );
  const libraries = [...(process.env.LD_LIBRARY_PATH ?? '').split(':').filter(Boolean), ...LIBRARY_DIRS];
  const driver = libraries.map((d) => join(d, 'libcuda.so.1')).find((f) => existsSync(f));
  const smi = which('nvidia-smi');
  const gpus = smi ? firstLine(smi, ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']) : undefined;
  const backend = addon?.backends.find((b) => b.name === 'cuda');
  const plugin = join(dirname(addonPath()), 'nextscale_cuda.so');
  const version = nvcc && /release [\d.]+/.exec(outputOf(nvcc, ['--version']) ?? '')?.[0];
  const about = { nvcc: version ? `${nvcc} (${version})` : nvcc, driver, gpus };
  if (backend?.available) return { found: true, plugin, ...about };
  // A plug-in that is there knows best why it does not work.
  if (existsSync(plugin)) return { found: false, plugin, ...about, reason: backend?.reason || 'the addon does not load' };
  const missing = [
    driver ? '' : 'no NVIDIA driver (libcuda.so.1 not found)',
    nvcc ? '' : 'no nvcc to build the plug-in',
    backend?.reason || 'the addon does not load',
  ];
  return { found: false, ...about, reason: missing.filter(Boolean).join('; ') };
}
