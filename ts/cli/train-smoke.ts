// --smoke: a step, save, restore into a fresh trainer, a step; it must equal two steps in a row (the reference's debug mode, made to compare).
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Engine } from '../engine/index.js';
import type { RunParts } from '../train/build.js';
import { type TrainEvent, type TrainResult, train } from '../train/index.js';
import type { Context } from './context.js';
import { openEngine, type Prepared, type RunOptions, usesTf32 } from './train-run.js';

interface Outcome {
  losses: number[];
  norms: number[];
  /** Trained state by name. */
  state: Map<string, Uint8Array>;
}

/** Iterations in all, and where the interrupted run stops. */
const ITERATIONS = 2;

export async function smoke(ctx: Context, prepared: Prepared, options: RunOptions): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'nextscale-smoke-'));
  const engine = await openEngine(options, usesTf32(options, prepared.args));
  try {
    const whole = await attempt(ctx, prepared, engine, join(folder, 'whole'));
    await attempt(ctx, prepared, engine, join(folder, 'resumed'), 1);
    const resumed = await attempt(ctx, prepared, engine, join(folder, 'resumed'));
    const different = compare(whole, resumed);
    const elements = [...whole.state.values()].reduce((sum, bytes) => sum + bytes.length / 4, 0);
    const what = `${whole.losses.length} losses, gradient norms and ${whole.state.size} tensors (${elements} elements)`;
    const data = { type: 'smoke', losses: whole.losses, resumed: resumed.losses, tensors: whole.state.size, elements, different };
    if (different.length > 0) {
      ctx.result(data, `smoke: NOT EQUAL after save and restore: ${different.join(', ')}`);
      process.exitCode = 1;
      return;
    }
    ctx.result(
      data,
      `smoke: losses ${whole.losses.map((loss) => loss.toFixed(6)).join(', ')} on synthetic images\nsmoke: step, save, restore, step equals two steps in a row: ${what} are the same bit for bit`,
    );
  } finally {
    await engine.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Trains two iterations, or stops after `stopAfter`. */
async function attempt(ctx: Context, prepared: Prepared, engine: Engine, out: string, stopAfter?: number): Promise<Outcome> {
  const parts = await prepared.build(engine, true);
  try {
    const steps: Extract<TrainEvent, { type: 'step' }>[] = [];
    const stop = new AbortController();
    const result = await trainShort(parts, out, stop.signal, (event) => {
      if (event.type === 'step') steps.push(event);
      if (event.type === 'step' && event.gIt + 1 === stopAfter) stop.abort();
    });
    ctx.note(`${out.split('/').at(-1)}: ${result.status} after iteration ${result.gIt}`);
    const last = steps.slice(-1);
    const state = await bytesOf((await parts.task.state())[parts.stateKey] as ReadonlyMap<unknown, unknown>);
    return { losses: last.map((step) => step.loss), norms: last.map((step) => step.gradNorm ?? -1), state };
  } finally {
    await parts.close();
  }
}

async function trainShort(parts: RunParts, out: string, signal: AbortSignal, onEvent: (event: TrainEvent) => void): Promise<TrainResult> {
  const { task, optimizer, batches, config, graph } = parts;
  const short = {
    ...batches,
    iters: ITERATIONS,
    epoch: (ep: number, startIt?: number) => limited(batches.epoch(ep, startIt), ITERATIONS - (startIt ?? 0)),
  };
  const quick = { ...config, ep: 1, ac: 1, wp: 0, save_min: 0, save_it: 0 };
  return await train({
    task,
    optimizer,
    batches: Object.assign(Object.create(batches) as typeof batches, short),
    config: quick,
    graph,
    out,
    signal,
    onEvent,
  });
}

async function* limited<T>(source: AsyncIterable<T>, count: number): AsyncGenerator<T, void, undefined> {
  let left = count;
  for await (const item of source) {
    if (left-- <= 0) return;
    yield item;
  }
}

async function bytesOf(state: ReadonlyMap<unknown, unknown>): Promise<Map<string, Uint8Array>> {
  const out = new Map<string, Uint8Array>();
  for (const [name, value] of state) {
    const readable = value as { read?: () => Promise<ArrayBufferView> };
    if (typeof readable.read !== 'function') continue;
    const { buffer, byteOffset, byteLength } = await readable.read();
    out.set(String(name), new Uint8Array(buffer, byteOffset, byteLength));
  }
  return out;
}

function compare(a: Outcome, b: Outcome): string[] {
  const out: string[] = [];
  if (a.losses.join() !== b.losses.join()) out.push('loss');
  if (a.norms.join() !== b.norms.join()) out.push('gradient norm');
  for (const [name, bytes] of a.state) if (Buffer.compare(bytes, b.state.get(name) ?? new Uint8Array(0)) !== 0) out.push(name);
  return out;
}
