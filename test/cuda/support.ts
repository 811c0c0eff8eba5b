import { execFile } from 'node:child_process';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createEngine } from '../../ts/engine/index.js';

/** Whether the device 'cuda' can be opened, whether it is the emulation, and why not. */
export async function cudaDevice(): Promise<{ there: boolean; emulated: boolean; reason: string }> {
  try {
    const engine = await createEngine({ device: 'cuda' });
    const emulated = engine.describe().emulated === true;
    await engine.close();
    return { there: true, emulated, reason: emulated ? '' : 'the device is a GPU' };
  } catch (e) {
    return { there: false, emulated: false, reason: (e as Error).message };
  }
}

/** What scenario.ts prints, run with faults of the emulation. Throws where the process crashes or hangs. */
export function scenario(what: string, faults: { fault?: string; memory?: number } = {}): Promise<unknown> {
  const script = fileURLToPath(new URL(`./scenario${extname(import.meta.url)}`, import.meta.url));
  const env = {
    ...process.env,
    NEXTSCALE_EMULATION_FAULT: faults.fault ?? '',
    ...(faults.memory ? { NEXTSCALE_EMULATION_MEMORY: String(faults.memory) } : {}),
  };
  return new Promise((done, failed) => {
    execFile(
      process.execPath,
      [...(script.endsWith('.ts') ? ['--import', 'tsx'] : []), script, what],
      { env, timeout: 120_000 },
      (error, stdout, stderr) => {
        if (error) return failed(new Error(`${what}: ${error.message} ${stderr}`));
        done(JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? ''));
      },
    );
  });
}
