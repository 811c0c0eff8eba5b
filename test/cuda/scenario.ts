// Runs in a process of its own, whose device may be told to fail. The last line is its result as JSON.
import { createEngine, type Engine } from '../../ts/engine/index.js';

const outcome = (p: Promise<unknown>): Promise<string> =>
  p.then(
    () => 'ok',
    (e: Error & { code?: string }) => `${e.code} ${e.message}`,
  );

async function work(engine: Engine): Promise<object> {
  const reads: Promise<string>[] = [];
  let t = engine.tensor(new Float32Array(40_000).fill(1), [40_000]);
  for (let i = 0; i < 8; i++) {
    t = engine.ops.affine(t, { add: 1 });
    reads.push(outcome(t.read()));
  }
  const flush = outcome(engine.flush());
  const capture = engine.capture(() => engine.ops.affine(t, { mul: 2 }));
  capture.replay();
  reads.push(outcome(capture.outputs.read()));
  const close = outcome(engine.close());
  return { reads: await Promise.all(reads), flush: await flush, close: await close };
}

async function run(what: string): Promise<object> {
  const open = (): Promise<Engine> => createEngine({ device: 'cuda' });
  if (what === 'exit') {
    const engine = await open();
    for (let i = 0; i < 200; i++) void engine.ops.fill({ shape: [1000], value: i }).read();
    return { ended: true };
  }
  if (what === 'forgotten') {
    const engine = await open();
    engine.capture(() => engine.ops.fill({ shape: [4] })).replay();
    await engine.flush();
    return { ended: true };
  }
  let engine: Engine;
  try {
    engine = await open();
  } catch (e) {
    return { reads: [], flush: 'create', close: `create ${(e as Error).message}` };
  }
  if (what === 'large') {
    const reads = [engine.ops.fill({ shape: [2 ** 24] }), engine.ops.fill({ shape: [2 ** 20] })].map((t) => outcome(t.read()));
    return { reads: await Promise.all(reads) };
  }
  const result = await work(engine);
  return what === 'lost' ? { ...result, next: await outcome(open()) } : result;
}

process.stdout.write(`${JSON.stringify(await run(process.argv[2] ?? ''))}\n`);
if (process.argv[2] === 'exit') process.exit(0);
