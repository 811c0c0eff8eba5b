// A VAR task small enough for a test of seconds: random tokens, a random tokenizer.
import { Philox } from '../../ts/core/philox.js';
import type { ImageBatch, TokenBatch } from '../../ts/data/index.js';
import type { Engine } from '../../ts/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { InitSource } from '../../ts/nn/index.js';
import { AdamW, annealGroups, OptimizerStep, type OptimizerStepOptions } from '../../ts/optim/index.js';
import type { StepInfo } from '../../ts/train/task.js';
import { VarTask, type VarTrainOptions } from '../../ts/train/var/index.js';

export const PATCH_NUMS = [1, 2, 3];
export const LENGTH = 14;
export const VOCAB = 32;
const VQVAE = { ch: 32, chMult: [1, 1, 2], numResBlocks: 1, zChannels: 8, vocabSize: VOCAB, patchNums: PATCH_NUMS };
/** Image side: 3 tokens of 4 pixels. */
export const RESO = 12;

export async function makeTask(engine: Engine, options: VarTrainOptions = {}, tokenizerSeed = 7): Promise<VarTask> {
  const config = vqvaeConfig(VQVAE);
  const weights = new InitSource(new VqvaeModel(config).parameters(), tokenizerSeed);
  return await VarTask.create(
    engine,
    { config, weights },
    {
      dropPathRate: 0,
      samples: { classes: 2, perClass: 2 },
      ...options,
      config: { depth: 2, embedDim: 64, numHeads: 2, numClasses: 5, condDropRate: 0, ...options.config },
    },
  );
}

export function makeStepper(task: VarTask, options: OptimizerStepOptions = {}): OptimizerStep {
  return new OptimizerStep(new AdamW(task.params, { betas: [0.9, 0.95] }), { clip: 2, ...options });
}

export function tokenBatch(count: number, seed = 1): TokenBatch {
  const random = new Philox(seed);
  return {
    kind: 'tokens',
    tokens: Int32Array.from({ length: count * LENGTH }, () => random.below(VOCAB)),
    labels: Int32Array.from({ length: count }, () => random.below(5)),
    indices: Int32Array.from({ length: count }, (_, i) => i),
  };
}

export function imageBatch(count: number, seed = 1): ImageBatch {
  const random = new Philox(seed);
  const { labels, indices } = tokenBatch(count, seed);
  const pixels = Uint8Array.from({ length: count * RESO * RESO * 3 }, () => random.below(256));
  return { kind: 'images', pixels, reso: RESO, labels, indices };
}

/** Images [from, to) of a batch of tokens. */
export function part({ tokens, labels, indices }: TokenBatch, from: number, to: number): TokenBatch {
  return {
    kind: 'tokens',
    tokens: tokens.slice(from * LENGTH, to * LENGTH),
    labels: labels.slice(from, to),
    indices: indices.slice(from, to),
  };
}

export function infoAt(gIt: number, more: Partial<StepInfo> = {}): StepInfo {
  return { ep: 0, it: gIt, gIt, itersPerEp: 10, maxIt: 100, stepping: true, lossScale: 1, log: true, detailed: false, ...more };
}

/** One iteration with the optimizer. */
export async function iterate(task: VarTask, stepper: OptimizerStep, batch: TokenBatch | ImageBatch, gIt: number, lr = 3e-3) {
  task.params.zeroGrads();
  annealGroups(stepper.groups, { lr, wd: 0.05 });
  const result = await task.step(batch, infoAt(gIt, { lossScale: stepper.lossScale }));
  return { ...result, ...(await stepper.run()) };
}

export function dispose(task: VarTask, ...steppers: OptimizerStep[]): void {
  for (const stepper of steppers) {
    stepper.dispose();
    stepper.optimizer.dispose();
  }
  task.dispose();
}
