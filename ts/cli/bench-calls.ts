// What a call costs on the JavaScript side, by the `benchmark` package: encoding a command, crossing into the addon, reading back.
import type { Suite } from 'benchmark';
import { ArgumentError } from '../core/errors.js';
import { createEngine, type Engine } from '../engine/index.js';
import { type BenchOptions, choose } from './bench-shared.js';
import { environment } from './bench-time.js';
import type { Context } from './context.js';

type Call = { name: string; fn: (engine: Engine) => () => void };

// Every call leaves one command for the worker; on the null device the worker does nothing, so only the call is timed.
const CALLS: readonly Call[] = [
  { name: 'empty function', fn: () => () => {} },
  { name: 'fill [1] and dispose', fn: (e) => () => e.ops.fill({ shape: [1], value: 1 }).dispose() },
  {
    name: 'binary add [4] and dispose',
    fn: (e) => {
      const x = e.tensor(new Float32Array(4), [4]);
      return () => e.ops.binary(x, x, { fn: 'add' }).dispose();
    },
  },
  {
    name: 'linear [1,4,16] and dispose',
    fn: (e) => {
      const x = e.tensor(new Float32Array(64), [1, 4, 16]);
      const w = e.ops.linearPack(e.tensor(new Float32Array(256), [16, 16]));
      return () => e.ops.linear(x, w, { n: 16 }).dispose();
    },
  },
  {
    name: 'scope of three ops',
    fn: (e) => {
      const x = e.tensor(new Float32Array(4), [4]);
      return () => e.scope(() => void e.ops.affine(e.ops.affine(e.ops.affine(x, { mul: 2 }), { add: 1 }), { mul: 3 }));
    },
  },
];

async function loadSuite(): Promise<new () => Suite> {
  try {
    return (await import('benchmark')).default.Suite as unknown as new () => Suite;
  } catch {
    throw new ArgumentError("bench calls: the package 'benchmark' is not installed; run: npm install benchmark");
  }
}

export async function benchCalls(ctx: Context, options: BenchOptions): Promise<void> {
  const Suite = await loadSuite();
  const calls = choose(options.filter, CALLS);
  const env = environment('null', 0);
  for (const call of calls) {
    ctx.signal.throwIfAborted();
    await using engine = await createEngine({ device: 'null' });
    const fn = call.fn(engine);
    const suite = new Suite();
    suite.add(call.name, fn, { maxTime: Math.max(0.2, (options.rounds * options.minMs) / 1000) });
    suite.run();
    await engine.flush();
    const { stats, error } = (suite as unknown as { 0: { error?: Error; stats: { sample: number[]; rme: number } } })[0];
    if (error) throw error;
    const us = stats.sample.map((s) => s * 1e6).sort((a, b) => a - b);
    const [min, median, max] = [us[0]!, us[us.length >> 1]!, us.at(-1)!];
    const text = `${call.name.padEnd(40)} ${median.toFixed(3).padStart(9)} us (min ${min.toFixed(3)}, max ${max.toFixed(3)}, +-${stats.rme.toFixed(1)} %)`;
    ctx.result({ bench: 'call', name: call.name, unit: 'us', min, median, max, rounds: us.length, rme: stats.rme, ...env }, text);
  }
}
