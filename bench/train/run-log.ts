// Reads the log.jsonl of a training run.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

interface Line {
  readonly type: string;
  readonly ep: number;
  readonly gIt?: number;
  readonly seconds?: number;
  readonly metrics?: Readonly<Record<string, number>>;
}

export interface RunLog {
  /** Per logged iteration: minutes of training so far, and its metrics. */
  readonly steps: readonly { readonly minutes: number; readonly metrics: Readonly<Record<string, number>> }[];
  readonly epochs: readonly { readonly minutes: number; readonly metrics: Readonly<Record<string, number>> }[];
  readonly evals: readonly { readonly minutes: number; readonly metrics: Readonly<Record<string, number>> }[];
  /** Minutes of training, without evaluation. */
  readonly minutes: number;
}

/** A line whose iteration was logged before replaces what an interrupted run had written from there on. */
export function readRunLog(run: string): RunLog {
  const lines = readFileSync(join(run, 'log.jsonl'), 'utf8')
    .split('\n')
    .filter((line) => line.length > 0)
    .map((line) => JSON.parse(line) as Line);
  const log = { steps: [] as RunLog['steps'][number][], epochs: [] as RunLog['epochs'][number][], evals: [] as RunLog['evals'][number][] };
  let seconds = 0;
  let last = -1;
  for (const { type, metrics = {}, ...line } of lines) {
    if (type === 'step') {
      // Not every iteration is logged: one stands for those before it.
      seconds += (line.seconds ?? 0) * Math.max(1, (line.gIt ?? 0) - last);
      last = line.gIt ?? 0;
      log.steps.push({ minutes: seconds / 60, metrics });
    } else if (type === 'epoch') log.epochs.push({ minutes: seconds / 60, metrics });
    else if (type === 'eval') log.evals.push({ minutes: seconds / 60, metrics });
  }
  return { ...log, minutes: seconds / 60 };
}
