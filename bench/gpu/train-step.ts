// A training step of VAR on random tokens of a random tokenizer, and the operations it needs.
import type { TokenBatch } from '../../ts/data/index.js';
import type { Engine } from '../../ts/engine/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { InitSource } from '../../ts/nn/index.js';
import { AdamW, OptimizerStep } from '../../ts/optim/index.js';
import { VarTask } from '../../ts/train/var/index.js';
import { visiblePairs } from './specs.js';

export interface TrainJob {
  readonly depth: number;
  readonly embedDim: number;
  readonly batch: number;
  readonly patchNums: readonly number[];
  readonly precision: 'f32' | 'f16' | 'bf16';
}

const VOCAB = 4096;
const CVAE = 32;

const lengthOf = (patchNums: readonly number[]): number => patchNums.reduce((sum, pn) => sum + pn * pn, 0);

/** Products of forward and backward: 2 FLOPs per weight and token, three times; attention over the keys that are seen. */
export function modelFlops({ depth, embedDim: C, batch, patchNums }: TrainJob): number {
  const tokens = batch * lengthOf(patchNums);
  const perToken = 12 * C * C * depth + VOCAB * C + CVAE * C;
  const perImage = 6 * C * C * depth + 2 * C * C;
  return 3 * (2 * perToken * tokens + 2 * perImage * batch + 4 * C * visiblePairs(patchNums) * batch * depth);
}

function randomTokens(job: TrainJob, seed: number): TokenBatch {
  let state = seed + 1;
  const draw = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const [labels, indices] = [Int32Array.from({ length: job.batch }, () => draw(1000)), Int32Array.from({ length: job.batch }, (_, i) => i)];
  return { kind: 'tokens', tokens: Int32Array.from({ length: job.batch * lengthOf(job.patchNums) }, () => draw(VOCAB)), labels, indices };
}

export interface Trainer {
  /** Seconds of one step: forward, backward, norm, clip, AdamW. */
  step(i: number): Promise<number>;
  close(): void;
}

export async function openTrainer(engine: Engine, job: TrainJob): Promise<Trainer> {
  // The tokenizer only holds the codebook and Phi here, so its convolutions are narrow.
  const config = vqvaeConfig({ vocabSize: VOCAB, zChannels: CVAE, ch: 32, patchNums: [...job.patchNums] });
  const weights = new InitSource(new VqvaeModel(config).parameters(), 0);
  const { depth, embedDim, precision } = job;
  const numbers = { config: { depth, embedDim, numHeads: embedDim / 64, condDropRate: 0 }, dropPathRate: 0, precision };
  const task = await VarTask.create(engine, { config, weights }, numbers);
  const stepper = new OptimizerStep(new AdamW(task.params, { betas: [0.9, 0.95] }), { clip: 2 });
  for (const group of stepper.groups) group.lr = 1e-4;
  const step = async (i: number): Promise<number> => {
    const batch = randomTokens(job, i);
    const start = performance.now();
    const info = { ep: 0, it: i, gIt: i, itersPerEp: 1000, maxIt: 1000, stepping: true, lossScale: 1, log: false, detailed: false };
    task.params.zeroGrads();
    await task.step(batch, info);
    await stepper.run();
    await engine.flush();
    return (performance.now() - start) / 1000;
  };
  return { step, close: () => task.dispose() };
}
