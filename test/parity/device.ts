// The device that the parity suites run on: NEXTSCALE_DEVICE, cpu unless said.
import { UnsupportedError } from '../../ts/core/errors.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';

export const device = (process.env.NEXTSCALE_DEVICE ?? 'cpu') as 'cpu' | 'cuda';

/** An engine per number of threads; on a GPU one engine stands for all of them. `missing` says why there is none. */
export async function openDevice(threads: readonly number[]): Promise<{ engines: Engine[]; missing?: string }> {
  if (device === 'cpu') return { engines: await Promise.all(threads.map((n) => createEngine({ device, threads: n }))) };
  try {
    const engine = await createEngine({ device });
    return { engines: threads.map(() => engine) };
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    return { engines: [], missing: error.message };
  }
}
