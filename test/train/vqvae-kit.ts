// Small VQVAE runs for the tests: synthetic pictures, a plain loop.
import { Philox } from '../../ts/core/philox.js';
import type { ImageBatch } from '../../ts/data/index.js';
import type { Engine } from '../../ts/index.js';
import { AdamW } from '../../ts/optim/index.js';
import type { StepInfo, StepResult } from '../../ts/train/task.js';
import { VqvaeTask, type VqvaeTrainOptions } from '../../ts/train/vqvae/index.js';

export const RESO = 32;

export const TINY = {
  vocabSize: 64,
  zChannels: 8,
  ch: 32,
  normGroups: 8,
  chMult: [1, 1, 1],
  numResBlocks: 1,
  patchNums: [1, 2, 4, 8],
  quantResi: 0.5,
  shareQuantResi: 4,
};

/** `n` smooth coloured pictures, each of three waves. */
export function pictures(n: number, seed = 1, reso = RESO): ImageBatch {
  const random = new Philox(seed);
  const pixels = new Uint8Array(n * reso * reso * 3);
  for (let i = 0; i < n; i++)
    for (let c = 0; c < 3; c++) {
      const [fx, fy, phase, mean] = [random.uniform() * 0.4, random.uniform() * 0.4, random.uniform() * 6.3, 80 + random.uniform() * 96];
      for (let p = 0; p < reso * reso; p++) {
        const wave = Math.sin(fx * (p % reso) + fy * Math.floor(p / reso) + phase);
        pixels[(i * reso * reso + p) * 3 + c] = Math.round(mean + 60 * wave);
      }
    }
  return { kind: 'images', pixels, reso, labels: new Int32Array(n), indices: Int32Array.from({ length: n }, (_, i) => i) };
}

/** Images `from` to `to` of a batch. */
export function part({ pixels, reso, labels, indices }: ImageBatch, from: number, to: number): ImageBatch {
  const size = reso * reso * 3;
  const cut = <T extends Int32Array>(list: T) => list.slice(from, to);
  return { kind: 'images', pixels: pixels.slice(from * size, to * size), reso, labels: cut(labels), indices: cut(indices) };
}

export async function* once(...batches: ImageBatch[]): AsyncGenerator<ImageBatch> {
  yield* batches;
}

export const tinyTask = async (engine: Engine, more: VqvaeTrainOptions = {}) =>
  await VqvaeTask.create(engine, { kmeans: { batches: 4, iterations: 5 }, ...more, config: { ...TINY, ...more.config } });

export const infoAt = (gIt: number, more: Partial<StepInfo> = {}): StepInfo => ({
  ep: 0,
  it: gIt,
  gIt,
  itersPerEp: 1000,
  maxIt: 1000,
  stepping: true,
  lossScale: 1,
  log: true,
  detailed: false,
  ...more,
});

export interface Trainer {
  readonly task: VqvaeTask;
  readonly optimizer: AdamW;
  /** Iterations from..to - 1 on the batches in turn. */
  run(batches: readonly ImageBatch[], from: number, to: number, lr?: number): Promise<StepResult[]>;
}

export function trainer(task: VqvaeTask): Trainer {
  const optimizer = new AdamW(task.params, { betas: [0.9, 0.99] });
  task.onCodesReplaced = (name, rows) => optimizer.resetRows(name, rows);
  return {
    task,
    optimizer,
    async run(batches, from, to, lr = 2e-3) {
      const results: StepResult[] = [];
      for (let gIt = from; gIt < to; gIt++) {
        task.params.zeroGrads();
        results.push(await task.step(batches[gIt % batches.length]!, infoAt(gIt)));
        const groups = task.params.ranges.map((range) => ({ range, lr, weightDecay: 0 }));
        optimizer.step({ groups, maxNorm: 1 }).dispose();
        await task.afterStep(infoAt(gIt), false);
      }
      return results;
    },
  };
}
