// Which places of a dataset the batches of an epoch hold, for training and for evaluation.
import { checkBoolean, checkEnum, checkInt } from '../core/check.js';
import { evalIndices, TrainSampler } from './sampler.js';

export interface OrderOptions {
  mode: 'train' | 'val';
  /** Images of one batch of this process. */
  batchSize: number;
  /** Epoch e is shuffled by seed + e; default 0. */
  seed?: number;
  rank?: number;
  worldSize?: number;
  /** Default true for training. */
  shuffle?: boolean;
  /** Fills the last batch of an epoch with images from its beginning; default true for training. */
  fillLast?: boolean;
  repeatedAug?: number;
}

/** Global batches hold batchSize * worldSize images; each process takes its share of an epoch as the reference's samplers deal it out. */
export class BatchOrder {
  readonly iters: number;
  private readonly indices: (ep: number) => readonly number[];

  constructor(
    datasetLen: number,
    private readonly options: OrderOptions,
  ) {
    const { mode, batchSize, seed = 0, rank = 0, worldSize = 1, shuffle = true, fillLast = true, repeatedAug = 0 } = options;
    checkEnum('mode', mode, ['train', 'val']);
    checkInt('batchSize', batchSize, 1, 1 << 24);
    checkBoolean('shuffle', shuffle);
    checkBoolean('fillLast', fillLast);
    const glbBatchSize = batchSize * checkInt('worldSize', worldSize, 1);
    if (mode === 'train') {
      const sampler = new TrainSampler({
        datasetLen,
        glbBatchSize,
        worldSize,
        rank,
        shuffle,
        fillLast,
        repeatedAug,
        sameSeedForAllRanks: seed,
      });
      this.indices = (ep) => sampler.epoch(ep);
      this.iters = sampler.length;
    } else {
      const own = evalIndices(datasetLen, worldSize, rank);
      this.indices = () => own;
      this.iters = Math.ceil(own.length / batchSize);
    }
  }

  /** Batches of epoch `ep` from iteration `startIt` on. */
  epoch(ep: number, startIt = 0): number[][] {
    checkInt('ep', ep, 0);
    checkInt('startIt', startIt, 0, this.iters);
    const { batchSize } = this.options;
    const all = this.indices(ep);
    const out: number[][] = [];
    for (let at = startIt * batchSize; at < all.length; at += batchSize) out.push(all.slice(at, at + batchSize));
    return out;
  }
}
