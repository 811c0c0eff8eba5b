// Index sequences of the evaluation and the training sampler.
import { evalIndices, TrainSampler } from '../../../ts/data/index.js';
import type { Check, KindRunner } from '../kind.js';

interface SamplerCase {
  eval: { dataset_len: number; num_replicas: number; indices: number[][] }[];
  train: {
    dataset_len: number;
    glb_batch_size: number;
    world_size: number;
    fill_last: boolean;
    start_ep: number;
    shuffle: boolean;
    ranks: { len: number; batches: number[][] }[];
  }[];
}

function check(tensor: string, got: unknown, want: unknown): Check {
  const ok = JSON.stringify(got) === JSON.stringify(want);
  return { tensor, maxAbsErr: ok ? 0 : 1, tolerance: 0, ok };
}

function take<T>(source: Iterable<T>, n: number): T[] {
  const out: T[] = [];
  for (const item of source) {
    if (out.length === n) break;
    out.push(item);
  }
  return out;
}

/** start_it is left out: it has no effect in the reference, in TrainSampler it skips the batches a resumed run has used. */
export const run: KindRunner = async (c) => {
  const { eval: evaluation, train } = c.json as unknown as SamplerCase;
  const checks: Check[] = [];
  for (const [i, { dataset_len, num_replicas, indices }] of evaluation.entries()) {
    checks.push(
      check(
        `eval/${i}`,
        indices.map((_, rank) => evalIndices(dataset_len, num_replicas, rank)),
        indices,
      ),
    );
  }
  for (const [i, entry] of train.entries()) {
    for (const [rank, { len, batches }] of entry.ranks.entries()) {
      const sampler = new TrainSampler({
        datasetLen: entry.dataset_len,
        glbBatchSize: entry.glb_batch_size,
        worldSize: entry.world_size,
        fillLast: entry.fill_last,
        startEp: entry.start_ep,
        shuffle: entry.shuffle,
        rank,
      });
      checks.push(check(`train/${i}/rank${rank}`, [sampler.length, take(sampler, batches.length)], [len, batches]));
    }
  }
  return checks;
};
