import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TrainEvent } from '../../ts/train/events.js';
import { type LoopConfig, type TrainResult, train } from '../../ts/train/index.js';
import type { TrainOptions } from '../../ts/train/options.js';
import { FakeOptimizer, type FakeOptions, FakeTask, fakeBatches, fakeConfig } from './fake.js';

const folders: string[] = [];
process.on('exit', () => {
  for (const path of folders) rmSync(path, { recursive: true, force: true });
});

/** A folder that is removed when the process ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'nextscale-train-'));
  folders.push(path);
  return path;
}

export interface FakeRun {
  result: TrainResult;
  events: TrainEvent[];
  task: FakeTask;
  optimizer: FakeOptimizer;
  batches: ReturnType<typeof fakeBatches>;
}

type Overrides = Partial<Omit<TrainOptions, 'task' | 'optimizer' | 'batches' | 'config'>>;

/** One run of the fake task in `out`, from the start or from where the folder stands. */
export async function fakeRun(
  out: string,
  config: Partial<LoopConfig> = {},
  fake: FakeOptions = {},
  more: Overrides = {},
): Promise<FakeRun> {
  const task = new FakeTask(fake);
  const full = fakeConfig(config);
  const optimizer = new FakeOptimizer(task, full.ac);
  const batches = fakeBatches(fake);
  const events: TrainEvent[] = [];
  const { onEvent, ...rest } = more;
  const result = await train({
    task,
    optimizer,
    batches,
    validation: fakeBatches({ iters: 2 }),
    config: full,
    args: { ep: full.ep, ac: full.ac, tblr: 0.1 },
    out,
    onEvent: (event) => {
      events.push(event);
      onEvent?.(event);
    },
    ...(rest as object),
  });
  return { result, events, task, optimizer, batches };
}

/** Aborts after iteration `gIt`. */
export function stopAfter(gIt: number): Overrides {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    onEvent: (event) => {
      if (event.type === 'step' && event.gIt === gIt) controller.abort();
    },
  };
}

/** Lines of log.jsonl of one type, without what a clock wrote. */
export function logged(out: string, type: string): Record<string, unknown>[] {
  const lines = readFileSync(join(out, 'log.jsonl'), 'utf8').trimEnd().split('\n');
  const rows = lines.map((line) => JSON.parse(line) as Record<string, unknown>).filter((row) => row.type === type);
  return rows.map(({ seconds: _s, dataSeconds: _d, remainSeconds: _r, line: _l, ...row }) => row);
}
