// Time of one call on the device: k calls recorded once, replayed, flushed; rounds of that, after a warm-up.
import type { Capture, Engine } from '../../ts/engine/index.js';
import { type Call, makeCall, type Source } from './calls.js';
import { type Spec, workOf } from './specs.js';

export interface Effort {
  /** Seconds that one replay should take, so that the flush after it does not count. */
  readonly replayS: number;
  readonly rounds: number;
  /** Bytes of inputs that the calls of a replay take turns with: more than the L2 cache holds, as between the layers of a model. */
  readonly rotateBytes: number;
}

export const FULL: Effort = { replayS: 5e-3, rounds: 15, rotateBytes: 2 ** 28 };
export const SMOKE: Effort = { replayS: 1e-4, rounds: 2, rotateBytes: 2 ** 14 };

const MOST_INSTANCES = 12;
const MOST_CALLS = 2000;

export const instancesOf = (s: Spec, effort: Effort): number =>
  Math.max(1, Math.min(MOST_INSTANCES, Math.ceil(effort.rotateBytes / Math.max(workOf(s).bytes, 1))));

/** One kernel ready to be timed, round by round; close it. */
export class Timed {
  private constructor(
    private readonly engine: Engine,
    private readonly close_: () => void,
    private readonly capture: Capture<void>,
    private readonly calls: number,
  ) {}

  static async open(engine: Engine, from: Source, s: Spec, effort: Effort): Promise<Timed> {
    const scope = engine.openScope();
    const calls: Call[] = scope.run(() => Array.from({ length: instancesOf(s, effort) }, () => makeCall(engine, from, s)));
    const record = (count: number): Capture<void> =>
      engine.capture(() => {
        for (let i = 0; i < count; i++) engine.scope(() => void calls[i % calls.length]!.run());
      });
    const first = record(calls.length);
    await engine.flush();
    const seconds = (await replayS(engine, first)) / calls.length;
    first.dispose();
    const count = Math.max(calls.length, Math.min(MOST_CALLS, Math.ceil(effort.replayS / seconds)));
    const timed = new Timed(engine, () => scope.close(), record(count), count);
    await timed.round();
    return timed;
  }

  /** Seconds per call. */
  async round(): Promise<number> {
    return (await replayS(this.engine, this.capture)) / this.calls;
  }

  async close(): Promise<void> {
    this.capture.dispose();
    this.close_();
    await this.engine.flush();
  }
}

async function replayS(engine: Engine, capture: Capture<void>): Promise<number> {
  const start = performance.now();
  capture.replay();
  await engine.flush();
  return (performance.now() - start) / 1000;
}

const sorted = (v: readonly number[]): number[] => [...v].sort((a, b) => a - b);
export const median = (v: readonly number[]): number => sorted(v)[Math.floor(v.length / 2)]!;
export const spread = (v: readonly number[]): { min: number; median: number; max: number } => ({
  min: sorted(v)[0]!,
  median: median(v),
  max: sorted(v).at(-1)!,
});

export async function timeOf(engine: Engine, from: Source, s: Spec, effort: Effort): Promise<number[]> {
  const timed = await Timed.open(engine, from, s, effort);
  const times: number[] = [];
  for (let i = 0; i < effort.rounds; i++) times.push(await timed.round());
  await timed.close();
  return times;
}
