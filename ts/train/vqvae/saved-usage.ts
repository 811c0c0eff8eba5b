import { CheckpointError } from '../../core/errors.js';
import { SavedTensor } from '../saved.js';
import type { StateValue } from '../task.js';
import type { UsageState } from './usage.js';

/** Counters of the codebook as a checkpoint holds them. */
export function writeUsage({ recordHit, counts, lastHit, born, before }: UsageState): Record<string, StateValue> {
  return { record_hit: recordHit, epoch_hits: counts, last_hit: lastHit, born, before: [...before] };
}

/** Takes back what writeUsage gave, from memory or from a file. Throws CheckpointError for anything else. */
export async function readUsage(saved: StateValue): Promise<{ usage: UsageState; restarted: number }> {
  const state = (saved ?? {}) as Record<string, unknown>;
  const counts = await array(state.epoch_hits, Float64Array);
  const lastHit = await array(state.last_hit, Int32Array);
  const born = await array(state.born, Int32Array);
  const { record_hit: recordHit, restarted, before } = state;
  if (!counts || !lastHit || !born || typeof recordHit !== 'number' || !Array.isArray(before))
    throw new CheckpointError('the state of a VQVAE run lacks the counters of its codebook', { file: '', key: 'codebook' });
  return { usage: { recordHit, counts, lastHit, born, before: before.map(Number) }, restarted: Number(restarted ?? 0) };
}

async function array<T>(value: unknown, type: new (n: number) => T): Promise<T | null> {
  const found: unknown = value instanceof SavedTensor ? await value.read() : value;
  return found instanceof type ? found : null;
}
