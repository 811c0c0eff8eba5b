import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ArgumentError } from '../../../ts/core/errors.js';
import { evalIndices, randperm, TrainSampler } from '../../../ts/data/index.js';

const test = suite('samplers');

function take<T>(source: Iterable<T>, n: number): T[] {
  const out: T[] = [];
  for (const item of source) {
    out.push(item);
    if (out.length === n) break;
  }
  return out;
}

const weighted = (values: number[]): number => values.reduce((sum, value, i) => sum + (i + 1) * value, 0);

// torch.randperm(n, generator=manual_seed(seed)) of torch 1.13 on a CPU.
test('randperm equals the one of torch', () => {
  assert.equal(randperm(10, 0), [4, 1, 7, 5, 3, 9, 0, 8, 6, 2]);
  assert.equal(randperm(1000, 3).slice(0, 10), [986, 114, 871, 894, 140, 885, 232, 402, 837, 674]);
  assert.is(weighted(randperm(1000, 3)), 249889722);
  assert.is(weighted(randperm(5000, 123456)), 31350544212);
});

test('evaluation covers every image once', () => {
  for (const [n, replicas] of [
    [10, 3],
    [3, 5],
    [0, 2],
    [1000, 7],
  ] as const) {
    const all = Array.from({ length: replicas }, (_, rank) => evalIndices(n, replicas, rank)).flat();
    assert.equal(
      all,
      Array.from({ length: n }, (_, i) => i),
    );
  }
});

test('ranks of a shuffled epoch share out one permutation; epochs differ; a seed repeats', () => {
  const sampler = (rank: number) => new TrainSampler({ datasetLen: 12, glbBatchSize: 4, worldSize: 2, rank, sameSeedForAllRanks: 5 });
  const epochs = [0, 1].map((epoch) => [...sampler(0).epoch(epoch), ...sampler(1).epoch(epoch)]);
  for (const epoch of epochs)
    assert.equal(
      [...epoch].sort((a, b) => a - b),
      Array.from({ length: 12 }, (_, i) => i),
    );
  assert.equal(epochs[1], randperm(12, 6));
  assert.not.equal(epochs[0], epochs[1]);
  assert.equal(take(sampler(1), 7), take(sampler(1), 7));
});

// torch.linspace(0, 15, 12, dtype=torch.int) counts the second half of its borders from the end, so that rounding falls on the other side.
test('ranks split an epoch at the borders torch gives', () => {
  const sizes = Array.from(
    { length: 11 },
    (_, rank) => new TrainSampler({ datasetLen: 15, glbBatchSize: 11, worldSize: 11, rank, shuffle: false }).epoch(0).length,
  );
  assert.equal(sizes, [1, 1, 2, 1, 1, 2, 1, 1, 2, 1, 2]);
});

test('a resumed run goes on where the first stopped', () => {
  const options = { datasetLen: 13, glbBatchSize: 4 };
  const first = take(new TrainSampler(options), 12);
  const resumed = take(new TrainSampler({ ...options, startEp: 1, startIt: 2 }), 6);
  assert.equal(resumed, first.slice(6));
});

test('repeatedAug repeats an image in a row', () => {
  const batches = take(new TrainSampler({ datasetLen: 8, glbBatchSize: 4, repeatedAug: 2 }), 2).flat();
  assert.equal(
    batches,
    randperm(8, 0)
      .slice(0, 4)
      .flatMap((index) => [index, index]),
  );
});

test('wrong options are ArgumentErrors', () => {
  const isArgument = (error: unknown): boolean => error instanceof ArgumentError;
  assert.throws(() => new TrainSampler({ datasetLen: 0, glbBatchSize: 4 }), isArgument);
  assert.throws(() => new TrainSampler({ datasetLen: 4, glbBatchSize: 3, worldSize: 2 }), isArgument);
  assert.throws(() => new TrainSampler({ datasetLen: 4, glbBatchSize: 4, startIt: 1 }), isArgument);
  assert.throws(() => evalIndices(4, 2, 2), isArgument);
  assert.throws(() => take(new TrainSampler({ datasetLen: 1, glbBatchSize: 2, worldSize: 2 }), 1), isArgument);
});

test.run();
