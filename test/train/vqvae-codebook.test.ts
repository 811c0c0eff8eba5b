// Codebook health without a model: hit counts, k-means, draws, warnings.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox } from '../../ts/core/philox.js';
import { createEngine, type Engine } from '../../ts/index.js';
import { drawRows } from '../../ts/train/vqvae/draw.js';
import { CodebookUsage, hitStats, kmeansCodes, vqvaeTraining } from '../../ts/train/vqvae/index.js';
import { deadCodes } from '../../ts/train/vqvae/restart.js';

const test = suite('codebook of a VQVAE in training');
let engine: Engine;

test.before(async () => {
  engine = await createEngine();
});
test.after(async () => {
  await engine.close();
});

test('usage, perplexity and dead codes are those of plain counts', () => {
  const random = new Philox(3);
  const [patchNums, v, batch] = [[1, 2, 3], 20, 40];
  const usage = new CodebookUsage(patchNums, v);
  const counts = patchNums.map(() => new Map<number, number>());
  for (let it = 0; it < 3; it++) {
    const tokens: number[] = [];
    for (let b = 0; b < batch; b++)
      for (const [si, pn] of patchNums.entries())
        for (let i = 0; i < pn * pn; i++) {
          const code = random.below(si === 2 ? v : 7);
          tokens.push(code);
          counts[si]!.set(code, (counts[si]!.get(code) ?? 0) + 1);
        }
    usage.record(Int32Array.from(tokens), it);
  }
  const { metrics, warnings } = usage.endEpoch('VAE_ep');
  for (const [si, pn] of patchNums.entries()) {
    const list = [...counts[si]!.values()];
    const total = list.reduce((a, b) => a + b, 0);
    const entropy = -list.reduce((sum, n) => sum + (n / total) * Math.log(n / total), 0);
    assert.is(metrics[`VAE_ep/usage_${pn}`], (100 * list.length) / v);
    assert.is(metrics[`VAE_ep/dead_${pn}`], v - list.length);
    assert.ok(Math.abs(metrics[`VAE_ep/perplexity_${pn}`]! - Math.exp(entropy)) < 1e-9);
  }
  assert.is(metrics['VAE_ep/usage'], 100);
  assert.equal(warnings, []);
  assert.is(usage.stats().all.perplexity, 0, 'the next epoch counts from zero');
});

test('even hits have the perplexity of their number, one code has 1, none has 0', () => {
  assert.ok(Math.abs(hitStats([5, 5, 5, 5, 0]).perplexity - 4) < 1e-12);
  assert.is(hitStats([0, 9, 0]).perplexity, 1);
  assert.equal(hitStats([0, 0]), { usage: 0, perplexity: 0, dead: 2 });
});

test('running hits: the first record is copied, then 0.9 for 100 records, then 0.99', () => {
  const usage = new CodebookUsage([1, 1], 2);
  const first = Int32Array.from([0, 1, 0, 0]);
  usage.record(first, 0);
  assert.equal(
    [...usage.ema].map((x) => +x.toFixed(6)),
    [2, 0, 0.1, 0.1],
  );
  for (let it = 1; it < 50; it++) usage.record(first, it);
  const before = usage.ema[1]!;
  assert.is(before, 0);
  usage.record(Int32Array.from([1, 1, 1, 1]), 50);
  assert.ok(Math.abs(usage.ema[1]! - 0.02) < 1e-6, 'record 100 moves by 0.01');
});

test('a fall of usage or perplexity by more than a third, and low usage, are warned of once', () => {
  const usage = new CodebookUsage([1], 10);
  const epoch = (codes: number[]) => {
    usage.record(Int32Array.from(codes), 0);
    return usage.endEpoch('VAE_ep').warnings;
  };
  assert.equal(epoch([0, 1, 2, 3, 4, 5]), []);
  assert.equal(epoch([0, 1, 2, 3, 4]), []);
  const fallen = epoch([0, 1, 2, 2]);
  assert.is(fallen.length, 4, fallen.join('; '));
  assert.match(fallen[0]!, /usage at scale 1 fell from 50.0 to 30.0/);
  assert.match(epoch([0]).at(-1)!, /only 10.0 % of the codes/);
});

test('counters come back as they were', () => {
  const tokens = Int32Array.from([0, 1, 2, 2, 2]);
  const [a, b] = [new CodebookUsage([1, 2], 4), new CodebookUsage([1, 2], 4)];
  a.record(tokens, 7);
  a.replaced(Int32Array.of(3), 8);
  b.restore(a.state(), a.ema);
  for (const usage of [a, b]) usage.record(Int32Array.from([3, 3, 3, 3, 0]), 9);
  assert.equal(b.state(), a.state());
  assert.equal(b.ema, a.ema);
  assert.throws(() => new CodebookUsage([1], 4).restore(a.state(), a.ema), /hit counts/);
});

test('dead are the codes without a hit for long, and the rare ones that are old enough', () => {
  const usage = new CodebookUsage([1], 4);
  for (let it = 0; it < 10; it++) usage.record(Int32Array.from([0, 0, 0, it < 3 ? 1 : 2]), it);
  assert.equal([...deadCodes(usage, { after: 8, below: 0 }, 9)], [3]);
  assert.equal([...deadCodes(usage, { after: 7, below: 0 }, 9)], [1, 3]);
  assert.equal([...deadCodes(usage, { after: 10, below: 0.9 }, 9)], [1, 2, 3]);
  usage.replaced(Int32Array.of(2, 3), 9);
  assert.equal([...deadCodes(usage, { after: 10, below: 0.9 }, 12)], [1]);
});

test('drawn rows are distinct, seeded, and repeat only where there are too few', () => {
  const rows = drawRows(1, 'test', 0, 50, 50);
  assert.equal(
    [...rows].sort((a, b) => a - b),
    Array.from({ length: 50 }, (_, i) => i),
  );
  assert.equal(drawRows(1, 'test', 0, 50, 50), rows);
  assert.not.equal(drawRows(2, 'test', 0, 50, 50), rows);
  assert.not.equal(drawRows(1, 'test', 1, 50, 50), rows);
  const many = drawRows(1, 'test', 0, 7, 3);
  assert.equal(
    [0, 1, 2].map((row) => [...many].filter((x) => x === row).length >= 2),
    [true, true, true],
  );
});

/** Vectors around `centres`, [n, 2]. */
function blobs(n: number, centres: readonly (readonly [number, number])[], spread: number, seed: number): Float32Array {
  const random = new Philox(seed);
  return Float32Array.from({ length: 2 * n }, (_, i) => centres[(i >> 1) % centres.length]![i % 2]! + spread * (random.uniform() - 0.5));
}

/** Lloyd's algorithm in plain loops. */
function lloyd(data: Float32Array, start: Int32Array, iterations: number): number[][] {
  const rows = Array.from({ length: data.length / 2 }, (_, i) => [data[2 * i]!, data[2 * i + 1]!]);
  let codes = [...start].map((i) => [...rows[i]!]);
  for (let it = 0; it < iterations; it++) {
    const sums = codes.map(() => [0, 0, 0]);
    for (const [x, y] of rows as [number, number][]) {
      let best = 0;
      const far = (k: number) => (codes[k]![0]! - x) ** 2 + (codes[k]![1]! - y) ** 2;
      for (let k = 1; k < codes.length; k++) if (far(k) < far(best)) best = k;
      sums[best]![0]! += x;
      sums[best]![1]! += y;
      sums[best]![2]! += 1;
    }
    codes = sums.map(([x, y, n], k) => (n === 0 ? codes[k]! : [x! / n!, y! / n!]));
  }
  return codes;
}

test('k-means equals plain loops from the same start', async () => {
  const data = blobs(300, [[0, 0]], 2, 5);
  using sample = engine.tensor(data, [300, 2]);
  using codes = await kmeansCodes(engine, sample, 6, { seed: 4, iterations: 7 });
  const want = lloyd(data, drawRows(4, 'kmeans.start', 0, 6, 300), 7).flat();
  const got = await codes.read();
  for (const [i, value] of want.entries()) assert.ok(Math.abs(Number(got[i]) - value) < 1e-4, `${i}: ${got[i]} ${value}`);
});

test('an aborted k-means leaves no tensor behind', async () => {
  using sample = engine.tensor(blobs(300, [[0, 0]], 2, 5), [300, 2]);
  await engine.flush();
  const { tensors } = engine.memory();
  for (const start of ['random', 'kmeans++'] as const) {
    const controller = new AbortController();
    const work = kmeansCodes(engine, sample, 6, { iterations: 10_000, start, signal: controller.signal });
    setTimeout(() => controller.abort(), 20);
    await work.then(
      () => assert.unreachable(),
      (error: Error) => assert.is(error.name, 'AbortError'),
    );
    assert.is(engine.memory().tensors, tensors);
  }
});

test('codes that start at the same place are moved to other vectors', async () => {
  const far = [40, -40, 80, -80];
  const data = Float32Array.from({ length: 128 }, (_, i) => (i % 2 === 0 ? (far[i / 2 - 30] ?? 0) : 0));
  using sample = engine.tensor(data, [64, 2]);
  using codes = await kmeansCodes(engine, sample, 5, { seed: 2, iterations: 60 });
  const got = [...(await codes.read())].map(Number);
  const reached = far.filter((x) => got.some((value, i) => i % 2 === 0 && Math.abs(value - x) < 1));
  assert.ok(reached.length >= 3, `codes ${got.join(' ')}`);
});

test('kmeans++ finds far groups for every seed', async () => {
  const centres = [
    [-9, -9],
    [9, -9],
    [-9, 9],
    [9, 9],
    [0, 0],
  ] as const;
  using sample = engine.tensor(blobs(500, centres, 1, 6), [500, 2]);
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    using codes = await kmeansCodes(engine, sample, 5, { seed, iterations: 3, start: 'kmeans++' });
    const got = await codes.read();
    const near = (k: number) => centres.findIndex(([x, y]) => Math.hypot(x - Number(got[2 * k]), y - Number(got[2 * k + 1])) < 1);
    assert.equal([0, 1, 2, 3, 4].map(near).sort(), [0, 1, 2, 3, 4], `seed ${seed}`);
  }
});

test('more codes than distinct vectors, and bad input', async () => {
  using sample = engine.tensor(new Float32Array(8), [4, 2]);
  using codes = await kmeansCodes(engine, sample, 9, { start: 'kmeans++', iterations: 2 });
  assert.equal([...new Set(await codes.read())], [0]);
  using flat = engine.tensor(new Float32Array(8), [8]);
  for (const call of [() => kmeansCodes(engine, flat, 2), () => kmeansCodes(engine, sample, 0)]) {
    const error = await call().then(
      () => null,
      (e: Error) => e,
    );
    assert.ok(error, 'refused');
  }
});

test('settings are checked by name', () => {
  assert.throws(() => vqvaeTraining({ recon: { l1: 0, l2: 0 } }), /recon/);
  assert.throws(() => vqvaeTraining({ kmeans: { batches: 0 } }), /kmeans\.batches/);
  assert.throws(() => vqvaeTraining({ restart: { after: 0 } }), /restart\.after/);
  assert.throws(() => vqvaeTraining({ vqWeight: -1 }), /vqWeight/);
  assert.throws(() => vqvaeTraining({ winograd: 3 as 2 }), /winograd/);
  assert.throws(() => vqvaeTraining({ config: { beta: -1 } }), /beta/);
  assert.throws(() => vqvaeTraining({ wibble: 1 } as object), /wibble/);
  const { kmeans } = vqvaeTraining({ kmeans: { maxVectors: 10 }, config: { vocabSize: 512 } });
  assert.is((kmeans || undefined)?.maxVectors, 512, 'as many vectors as codes, at least');
});

test.run();
