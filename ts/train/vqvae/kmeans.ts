import { checkInt, throwIfAborted } from '../../core/check.js';
import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { Engine, Tensor } from '../../engine/index.js';
import { seedWords } from '../../nn/index.js';
import { drawRows } from './draw.js';

export interface KmeansOptions {
  readonly seed?: number;
  /** Lloyd iterations. */
  readonly iterations?: number;
  /** First centres: rows of the sample chosen at random, or far from each other (Arthur and Vassilvitskii, 2007). */
  readonly start?: 'random' | 'kmeans++';
  /** Assign by cosine; centres are means of the vectors as they are. */
  readonly cosine?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Steps of kmeans++ between two looks at the queue. */
const CHUNK = 32;

/**
 * Codes [V, C] by Lloyd's algorithm on the rows of `sample` [N, C], on the engine. A code that no vector is nearest to moves to a
 * random row. The same seed gives the same bits. Throws ArgumentError for an empty sample.
 */
export async function kmeansCodes(engine: Engine, sample: Tensor, vocabSize: number, options: KmeansOptions = {}): Promise<Tensor> {
  const { seed = 0, iterations = 10, start = 'random', cosine = false, signal } = options;
  if (sample.shape.length !== 2) throw new ShapeError(`[kmeans] the sample is [${sample.shape}], accepted is [N, C]`);
  checkInt('kmeans: vocabSize', vocabSize, 1);
  checkInt('kmeans: iterations', iterations, 0, 10_000);
  const n = sample.shape[0]!;
  let codes = start === 'random' ? randomRows(engine, sample, seed, vocabSize) : await spreadRows(engine, sample, vocabSize, seed, signal);
  try {
    for (let it = 0; it < iterations; it++) {
      throwIfAborted(signal);
      const { next, counts } = engine.scope(() => lloyd(engine, sample, codes, cosine));
      codes.dispose();
      codes = next;
      const hits = await counts.read().finally(() => counts.dispose());
      const empty = [...hits.keys()].filter((v) => hits[v] === 0);
      if (empty.length > 0 && it + 1 < iterations)
        reseed(engine, codes, sample, empty, drawRows(seed, 'kmeans.empty', it, empty.length, n));
    }
    return codes;
  } catch (error) {
    codes.dispose();
    throw error;
  }
}

/** One iteration: means of the rows by nearest code; a code without rows stays where it is. */
function lloyd(engine: Engine, sample: Tensor, codes: Tensor, cosine: boolean): { next: Tensor; counts: Tensor } {
  const { ops } = engine;
  const [v, c] = codes.shape as [number, number];
  const idx = ops.vqLookup(sample, codes, { cosine });
  const sums = ops.fill({ shape: [v, c] });
  ops.embeddingGrad(idx, sample, sums);
  const counts = ops.bincount(idx, { n: v });
  const column = ops.reshape(counts, { shape: [v, 1] });
  const empty = ops.affine(column, { mul: -1, add: 1, lo: 0 });
  const kept = ops.binary(codes, empty, { fn: 'mul' });
  const means = ops.binary(sums, ops.affine(column, { lo: 1 }), { fn: 'div' });
  return { next: ops.binary(means, kept, { fn: 'add' }), counts };
}

function randomRows(engine: Engine, sample: Tensor, seed: number, count: number): Tensor {
  return gather(engine, sample, drawRows(seed, 'kmeans.start', 0, count, sample.shape[0]!));
}

/** Rows `idx` of a table [N, C]. */
export function gather(engine: Engine, table: Tensor, idx: Int32Array): Tensor {
  if (idx.length === 0) throw new ArgumentError('gather: no rows were asked for');
  return engine.scope(() => engine.ops.embedding(table, engine.tensor(idx, [idx.length])));
}

function reseed(engine: Engine, codes: Tensor, sample: Tensor, empty: readonly number[], rows: Int32Array): void {
  engine.scope(() => {
    engine.ops.scatterRows(codes, engine.tensor(Int32Array.from(empty), [empty.length]), gather(engine, sample, rows));
  });
}

/** kmeans++: every further centre is a row drawn with probability proportional to its squared distance to the nearest one so far. */
async function spreadRows(engine: Engine, sample: Tensor, count: number, seed: number, signal: AbortSignal | undefined): Promise<Tensor> {
  const { ops } = engine;
  const [n, c] = sample.shape as [number, number];
  const work = engine.openScope({ signal });
  try {
    const codes = ops.fill({ shape: [count, c] });
    work.adopt(codes);
    const [distance, words] = work.run(() => {
      const first = gather(engine, sample, drawRows(seed, 'kmeans.start', 0, 1, n));
      ops.writeSlice(codes, first, { axis: 0, start: 0 });
      return [engine.scope(() => squaredDistance(engine, sample, first)), engine.tensor(Int32Array.from([...seedWords(seed), 0]), [1, 3])];
    });
    let nearest = distance;
    for (let k = 1; k < count; k++) {
      nearest = work.run(() => {
        const next = engine.scope(() => {
          // Rows that are centres already keep a vanishing chance, for samples with fewer distinct rows than codes.
          const chances = ops.reshape(ops.affine(nearest, { add: 1e-30 }), { shape: [1, 1, n] });
          const row = ops.embedding(sample, ops.reshape(ops.multinomial(chances, words, { scale: k }), { shape: [1] }));
          ops.writeSlice(codes, row, { axis: 0, start: k });
          return ops.binary(nearest, squaredDistance(engine, sample, row), { fn: 'min' });
        });
        nearest.dispose();
        return next;
      });
      if (k % CHUNK === 0) await engine.throttle();
    }
    return work.keep(codes);
  } finally {
    work.close();
  }
}

/** [N]: squared distances of the rows to one row [1, C]. */
function squaredDistance({ ops }: Engine, sample: Tensor, row: Tensor): Tensor {
  return ops.reduce(ops.unary(ops.binary(sample, row, { fn: 'sub' }), { fn: 'square' }), { fn: 'sum', axis: 1 });
}
