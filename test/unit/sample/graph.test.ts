// Generation as one recorded graph gives what the calls one by one give, and holds no memory once the model is gone.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type GenerateCall, type GenerateResult, VQVAE } from '../../../ts/index.js';
import { decodeParts } from '../../../ts/sample/graph.js';
import { liveBytes, refused, rejection, SMALL_VQVAE, type Small, small, tokensOf } from './kit.js';

const test = suite('generate as a graph');
let engine: Engine;
let models: Small;

test.before(async () => {
  engine = await createEngine({ threads: 2, device: process.env.NEXTSCALE_DEVICE === 'cuda' ? 'cuda' : 'cpu' });
});
test.before.each(async () => {
  models = await small(engine);
});
test.after.each(() => {
  models.dispose();
});
test.after(async () => {
  await engine.close();
});

const pixels = (result: GenerateResult): number[][] => result.images.map((image) => [...image.data]);

async function both(call: GenerateCall): Promise<GenerateResult> {
  const plain = await models.model.generate({ ...call, graph: false });
  const graph = await models.model.generate({ ...call, graph: true });
  assert.equal(tokensOf(graph.tokens), tokensOf(plain.tokens));
  assert.equal(pixels(graph), pixels(plain));
  assert.equal([graph.timings.scales, graph.timings.total > 0], [[], true]);
  return graph;
}

test('labels, seeds, guidance and cuts are inputs of one graph', async () => {
  const first = await both({ labels: [1, 3], seed: 9 });
  const others = [
    await both({ labels: [1, 3], seed: 10 }),
    await both({ labels: [2, -1], seed: [9, 4], cfg: [0, 7] }),
    await both({ labels: [1, 3], seed: 9, topK: [1, 5], topP: 0 }),
    await both({ labels: [4, 4], seed: 3, cfg: 1.5, topK: 0, topP: 0.4 }),
  ];
  assert.ok(others.some((other) => tokensOf(other.tokens).join() !== tokensOf(first.tokens).join()));
});

test('other batch sizes and the smooth mix have graphs of their own; the oldest of five gives way', async () => {
  for (const count of [1, 2, 3]) await both({ count, seed: 20 + count });
  await both({ count: 2, seed: 5, moreSmooth: true });
  const full = await liveBytes(engine);
  await both({ count: 4, seed: 6 });
  await both({ count: 1, seed: 7 });
  await both({ count: 3, seed: 8 });
  // One of 1, 2 and the smooth one were dropped for 4 and 1: what is held does not grow with the number of sizes seen.
  const bytes = await liveBytes(engine);
  for (const count of [2, 4, 1, 3]) await models.model.generate({ count, seed: 1, graph: true });
  assert.ok(bytes > 0 && full > 0);
  assert.ok((await liveBytes(engine)) <= 2 * Math.max(bytes, full));
});

test('runs that overlap do not mix', async () => {
  const calls = Array.from({ length: 6 }, (_, i) => ({ labels: [i % 5], seed: 100 + i }));
  const together = await Promise.all(calls.map((call) => models.model.generate({ ...call, graph: true }).then()));
  for (const [i, call] of calls.entries()) {
    const alone = await models.model.generate({ ...call, graph: false });
    assert.equal(pixels(together[i]!), pixels(alone), `run ${i}`);
  }
});

test('many runs hold no more memory than one; disposing the model frees its graphs', async () => {
  const before = await liveBytes(engine);
  const other = await small(engine);
  const loaded = await liveBytes(engine);
  await other.model.generate({ labels: [1], seed: 0, graph: true });
  const one = await liveBytes(engine);
  for (let seed = 1; seed < 30; seed++) await other.model.generate({ labels: [1], seed, graph: true });
  assert.is(await liveBytes(engine), one);
  assert.ok(one >= loaded);
  other.dispose();
  assert.is(await liveBytes(engine), before);
});

test('what a graph cannot give is refused; an aborted run leaves it usable', async () => {
  await refused(models.model.generate({ count: 1, graph: true, onScale: () => {} }), 'graph', 'onScale');
  await refused(models.model.generate({ count: 1, graph: true, scalePreviews: true }), 'graph', 'previews');
  await refused(models.model.generate({ count: 1, graph: 1 as unknown as boolean }), 'graph');
  const controller = new AbortController();
  const running = models.model.generate({ labels: [1], seed: 4, graph: true, signal: controller.signal });
  controller.abort();
  assert.is((await rejection(running)).name, 'AbortError');
  await both({ labels: [1], seed: 4 });
});

test('a large batch is decoded in parts, with the memory of one', async () => {
  if (engine.describe().emulated) return; // minutes, for what the CPU shows as well
  const vqvae = await VQVAE.init(engine, { ...SMALL_VQVAE, chMult: [1, 1], patchNums: [1, 64], seed: 1 });
  const { zChannels } = SMALL_VQVAE;
  const held: number[] = [];
  for (const count of [16, 18]) {
    const noise = Float32Array.from({ length: count * 64 * 64 * zChannels }, (_, i) => Math.sin(i * 0.7));
    using fHat = engine.tensor(noise, [count, 64, 64, zChannels]);
    const before = await liveBytes(engine);
    using graph = engine.capture(() => decodeParts(engine, vqvae.model, fHat));
    held.push((await liveBytes(engine)) - before);
    const images = await vqvae.decodeFhat(fHat);
    const parts = await Promise.all(graph.outputs.map(async (part) => [...(await part.read())]));
    assert.is(Buffer.compare(Buffer.from(parts.flat() as number[]), Buffer.concat(images.map((image) => image.data))), 0);
    assert.is(graph.outputs.length, Math.ceil(count / 16));
    for (const part of graph.outputs) part.dispose();
  }
  assert.ok(held[1]! < 1.3 * held[0]!, held.join());
  vqvae.dispose();
});

test('where memory is short, the graphs of other batch sizes give way', async () => {
  const pool = async (counts: number[], allocLimit = 0): Promise<number> => {
    const other = await createEngine({ device: 'null', maxCachedBytes: 0, fault: { allocLimit } });
    const { model } = await small(other);
    for (const count of counts) assert.is((await model.generate({ count, graph: true })).images.length, count);
    const { poolBytes } = other.memory();
    await other.close(); // no error is left over
    return poolBytes;
  };
  const [one, two, both] = [await pool([3]), await pool([4]), await pool([3, 4])];
  const limit = Math.max(one, two) + 4096;
  assert.ok(limit < both);
  await pool([3, 4, 3], limit);
  const error = await rejection(pool([4, 3], Math.min(one, two) - 4096));
  assert.is(error.name, 'OutOfMemoryError');
  const tight = await createEngine({ device: 'null', maxCachedBytes: 0, fault: { allocLimit: Math.min(one, two) - 4096 } });
  const { model } = await small(tight);
  const runs = await Promise.allSettled([3, 4, 3, 4].map((count) => model.generate({ count, graph: true }).then()));
  for (const run of runs) assert.is(run.status === 'rejected' && run.reason.name, 'OutOfMemoryError');
  await tight.close();
});

test('disposed while a run is on its way: the run ends, the engine works on', async () => {
  const other = await small(engine);
  const running = other.model.generate({ labels: [2], seed: 8, graph: true }).then();
  const again = other.model.generate({ labels: [2], seed: 8, graph: true }).then();
  other.dispose();
  for (const run of await Promise.allSettled([running, again])) {
    if (run.status === 'rejected') assert.is(run.reason.name, 'DisposedError');
    else assert.is(run.value.images.length, 1);
  }
  await both({ labels: [2], seed: 8 });
});

test.run();
