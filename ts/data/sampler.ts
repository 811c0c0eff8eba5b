// Which images a process sees, in which order (reference: utils/data_sampler.py of FoundationVision/VAR).
import { checkInt } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { randperm } from './torch-random.js';

/** Indices [begin, end) of one of `numReplicas` processes, for evaluation: every image exactly once. */
export function evalIndices(datasetLen: number, numReplicas: number, rank: number): number[] {
  checkInt('datasetLen', datasetLen, 0);
  checkInt('numReplicas', numReplicas, 1);
  checkInt('rank', rank, 0, numReplicas - 1);
  const step = datasetLen / numReplicas;
  const border = (i: number): number => (i === numReplicas ? datasetLen : Math.floor(i * step));
  const begin = border(rank);
  return Array.from({ length: border(rank + 1) - begin }, (_, i) => begin + i);
}

export interface TrainSamplerOptions {
  datasetLen: number;
  /** Images of one iteration over all processes; a multiple of worldSize. */
  glbBatchSize: number;
  worldSize?: number;
  rank?: number;
  /** Fills the last batch of an epoch with images from its beginning. */
  fillLast?: boolean;
  shuffle?: boolean;
  /** Epoch e is shuffled with seed sameSeedForAllRanks + e. */
  sameSeedForAllRanks?: number;
  /** Every image this many times in a row, over as many epochs fewer. */
  repeatedAug?: number;
  /** Where a resumed run goes on: the epoch, and how many of its batches were already used. */
  startEp?: number;
  startIt?: number;
}

/** Endless batches of image indices for training; `length` iterations are one epoch. */
export class TrainSampler implements Iterable<number[]> {
  readonly length: number;
  private readonly options: Required<TrainSamplerOptions>;

  constructor(options: TrainSamplerOptions) {
    const filled = {
      worldSize: 1,
      rank: 0,
      fillLast: false,
      shuffle: true,
      sameSeedForAllRanks: 0,
      repeatedAug: 0,
      startEp: 0,
      startIt: 0,
      ...options,
    };
    checkInt('datasetLen', filled.datasetLen, 1);
    checkInt('glbBatchSize', filled.glbBatchSize, 1);
    checkInt('worldSize', filled.worldSize, 1);
    checkInt('rank', filled.rank, 0, filled.worldSize - 1);
    checkInt('repeatedAug', filled.repeatedAug, 0);
    checkInt('startEp', filled.startEp, 0);
    if (filled.glbBatchSize % filled.worldSize !== 0) {
      throw new ArgumentError(`glbBatchSize is ${filled.glbBatchSize}: expected a multiple of worldSize ${filled.worldSize}`);
    }
    this.options = filled;
    this.length = Math.ceil(filled.datasetLen / filled.glbBatchSize);
    checkInt('startIt', filled.startIt, 0, this.length - 1);
  }

  /** Indices of this process in one epoch, in order. */
  epoch(epoch: number): number[] {
    const all = this.globalIndices(epoch);
    const { worldSize, rank } = this.options;
    return all.slice(border(all.length, worldSize, rank), border(all.length, worldSize, rank + 1));
  }

  *[Symbol.iterator](): Generator<number[], never> {
    const { startEp, startIt, glbBatchSize, worldSize } = this.options;
    const batch = glbBatchSize / worldSize;
    for (let epoch = startEp; ; epoch++) {
      const indices = this.epoch(epoch);
      for (let at = epoch === startEp ? startIt * batch : 0; at < indices.length; at += batch) yield indices.slice(at, at + batch);
      if (indices.length === 0)
        throw new ArgumentError(`rank ${this.options.rank} of ${worldSize} has no images: datasetLen is ${this.options.datasetLen}`);
    }
  }

  private globalIndices(epoch: number): number[] {
    const { datasetLen, glbBatchSize, shuffle, sameSeedForAllRanks, repeatedAug, fillLast } = this.options;
    const wanted = this.length * glbBatchSize;
    let out = shuffle ? randperm(datasetLen, epoch + sameSeedForAllRanks) : Array.from({ length: datasetLen }, (_, i) => i);
    if (shuffle && repeatedAug > 1) {
      const distinct = out.slice(0, Math.ceil(datasetLen / repeatedAug));
      out = distinct.flatMap((index) => new Array<number>(repeatedAug).fill(index)).slice(0, wanted);
    }
    return fillLast && out.length < wanted ? out.concat(out.slice(0, wanted - out.length)) : out;
  }
}

/** i-th of worldSize + 1 evenly spaced borders, truncated; counted from the nearer end, as torch.linspace does it. */
function border(n: number, worldSize: number, i: number): number {
  const step = n / worldSize;
  return Math.trunc(i < Math.floor((worldSize + 1) / 2) ? step * i : n - step * (worldSize - i));
}
