// Runs the command line as a user does: as a process of its own.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const MAIN = fileURLToPath(new URL('../../ts/cli/main.ts', import.meta.url));

export interface Result {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface RunOptions {
  env?: NodeJS.ProcessEnv;
  /** called with everything stderr has said so far; the signal it returns is sent once */
  onStderr?: (text: string) => NodeJS.Signals | undefined;
  signals?: number;
}

export function nextscale(args: readonly string[], options: RunOptions = {}): Promise<Result> {
  return new Promise((done, failed) => {
    const env = { ...process.env, ...options.env };
    const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let left = options.signals ?? 1;
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk;
      const signal = left > 0 ? options.onStderr?.(stderr) : undefined;
      if (signal) {
        left--;
        child.kill(signal);
      }
    });
    child.on('error', failed);
    child.on('close', (code, signal) => done({ code, signal, stdout, stderr }));
  });
}

/** Runs with --json, expects success, and gives the parsed result. */
export async function json<T>(args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await nextscale([...args, '--json']);
  if (code !== 0) throw new Error(`nextscale ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

/** A folder that is removed when the process ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'nextscale-cli-'));
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A test picture with some structure, written as PNG. */
export async function picture(path: string, side: number, hue = 0): Promise<string> {
  const data = Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [x, y, c] = [Math.floor(i / 3) % side, Math.floor(i / 3 / side), i % 3];
    return (128 + 100 * Math.sin((x * (c + 1) + y * 2 + hue) / 9)) & 255;
  });
  await sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toFile(path);
  return path;
}

export async function pixels(path: string): Promise<{ width: number; height: number; data: Buffer }> {
  const { data, info } = await sharp(path).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data };
}
