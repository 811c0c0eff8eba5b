// Finding the checkpoint that a run goes on from.
import { dirname, resolve } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';
import type { TrainOptions } from './options.js';
import { decodeState } from './saved.js';
import type { CheckpointStore } from './store.js';
import type { StateValue } from './task.js';

/** Version of the layout below `nextscale` in a checkpoint. */
export const FORMAT = 1;

export interface FoundCheckpoint {
  readonly path: string;
  readonly checkpoint: Checkpoint;
  readonly state: Record<string, StateValue>;
  /** Newer files that could not be used, and why. */
  readonly warnings: readonly string[];
}

/** A checkpoint of a run of this project, verified to the last byte. Throws CheckpointError. */
export async function openRunCheckpoint(path: string, verify: (path: string) => Promise<void>): Promise<Omit<FoundCheckpoint, 'warnings'>> {
  await verify(path);
  const checkpoint = await openCheckpoint(path, { root: '' });
  try {
    const state = decodeState(checkpoint);
    const own = state.nextscale as Record<string, unknown> | undefined;
    if (!own || typeof state.trainer !== 'object')
      throw new CheckpointError(
        `${path}: not a checkpoint of nextscale train (a run cannot go on from weights alone: use them as a start instead)`,
        {
          file: path,
        },
      );
    if (own.format !== FORMAT)
      throw new CheckpointError(`${path}: checkpoint of format ${String(own.format)}, this version reads format ${FORMAT}`, { file: path });
    return { path, checkpoint, state };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

/** The first candidate that is whole; undefined where there are none. Throws CheckpointError where none of them is. */
export async function findCheckpoint(
  candidates: readonly string[],
  verify: (path: string) => Promise<void>,
): Promise<FoundCheckpoint | undefined> {
  const warnings: string[] = [];
  for (const path of candidates) {
    try {
      return { ...(await openRunCheckpoint(path, verify)), warnings };
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      warnings.push(error.message);
    }
  }
  if (warnings.length === 0) return undefined;
  throw new CheckpointError(`no checkpoint of the run can be read:\n  ${warnings.join('\n  ')}`, { file: candidates[0]! });
}

/** Whether a file lies in the folder. */
export function liesIn(folder: string, path: string): boolean {
  return resolve(dirname(path)) === resolve(folder);
}

/** What a run in `out` goes on from, by its option `resume`; undefined: it starts afresh. Throws ArgumentError where the folder forbids it. */
export async function findStart(
  { resume = 'auto', out }: Pick<TrainOptions, 'resume' | 'out'>,
  store: CheckpointStore,
): Promise<FoundCheckpoint | undefined> {
  const verify = (path: string) => store.verify(path);
  const candidates = await store.candidates();
  if (resume !== 'auto' && resume !== 'never') {
    if (candidates.length > 0 && !liesIn(out, resume))
      throw new ArgumentError(`resume is ${resume}, and ${out} holds another run (${candidates[0]}): give another folder`);
    return { ...(await openRunCheckpoint(resume, verify)), warnings: [] };
  }
  if (resume === 'never' && candidates.length > 0)
    throw new ArgumentError(`resume is never, and ${out} holds a run (${candidates[0]}): give another folder, or resume auto`);
  return await findCheckpoint(candidates, verify);
}

/** Names of options whose values differ, except those that may. */
export function differingOptions(
  saved: Record<string, unknown>,
  now: Record<string, unknown>,
  mayChange: ReadonlySet<string>,
): { name: string; saved: unknown; now: unknown }[] {
  const names = [...new Set([...Object.keys(saved), ...Object.keys(now)])].filter((name) => !mayChange.has(name));
  const text = (value: unknown) => JSON.stringify(value ?? null);
  return names.filter((name) => text(saved[name]) !== text(now[name])).map((name) => ({ name, saved: saved[name], now: now[name] }));
}

/** What differs although it may: `ep 3 -> 4`. */
export function changedOptions(saved: StateValue, now: Record<string, unknown>): string[] {
  const all = differingOptions(
    (saved ?? {}) as Record<string, unknown>,
    JSON.parse(JSON.stringify(now)) as Record<string, unknown>,
    new Set(),
  );
  return all.map((d) => `${d.name} ${JSON.stringify(d.saved ?? null)} -> ${JSON.stringify(d.now ?? null)}`);
}

/** Throws ArgumentError that names every option in which a run and its checkpoint differ. */
export function checkCompatible(
  path: string,
  saved: Record<string, unknown>,
  now: Record<string, unknown>,
  mayChange: ReadonlySet<string>,
): void {
  const different = differingOptions(saved, now, mayChange);
  if (different.length === 0) return;
  const lines = different.map(
    (d) => `--${d.name}: the run has ${JSON.stringify(d.saved ?? null)}, given is ${JSON.stringify(d.now ?? null)}`,
  );
  throw new ArgumentError(
    `${path} belongs to a run with other options:\n  ${lines.join('\n  ')}\nGive the same options, or another --out for a new run.`,
  );
}
