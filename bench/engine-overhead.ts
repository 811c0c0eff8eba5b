// What one op call costs on the JS side: the null device computes nothing, so the time is checks, encoding and the worker's bookkeeping.
// Prints one JSON line per case: nanoseconds per call, best and median of ten rounds.
import { createEngine } from '../ts/engine/index.js';

const CALLS = 20_000;
const ROUNDS = 10;

const engine = await createEngine({ device: 'null', maxInFlightCommands: 1 << 20 });
const x = engine.ops.fill({ shape: [2, 9, 64] });
const y = engine.ops.fill({ shape: [2, 9, 64] });
const w = engine.ops.fill({ shape: [4, 64, 16] });
const bias = engine.ops.fill({ shape: [64] });

const cases: Record<string, () => void> = {
  'accumulate (2 in, no output)': () => engine.ops.accumulate(x, y),
  'unary + dispose': () => engine.ops.unary(x, { fn: 'neg' }).dispose(),
  'linear + dispose': () => engine.ops.linear(x, w, { n: 64, bias, residual: y, act: 'gelu' }).dispose(),
  'scope of 3 ops': () => engine.scope(() => engine.ops.accumulate(x, engine.ops.affine(engine.ops.unary(x, { fn: 'exp' }), { mul: 2 }))),
};

for (const [name, call] of Object.entries(cases)) {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const since = process.hrtime.bigint();
    for (let i = 0; i < CALLS; i++) call();
    times.push(Number(process.hrtime.bigint() - since) / CALLS);
    await engine.flush();
  }
  times.sort((a, b) => a - b);
  process.stdout.write(
    `${JSON.stringify({ bench: 'engine-overhead', case: name, minNs: Math.round(times[0] as number), medianNs: Math.round(times[ROUNDS / 2] as number) })}\n`,
  );
}
await engine.close();
