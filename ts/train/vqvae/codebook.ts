import { throwIfAborted } from '../../core/check.js';
import { ArgumentError } from '../../core/errors.js';
import type { ImageBatch } from '../../data/index.js';
import type { Tensor } from '../../engine/index.js';
import { scaleResiduals } from '../../models/vqvae/index.js';
import { drawRows } from './draw.js';
import { gather, kmeansCodes } from './kmeans.js';
import { CODEBOOK } from './names.js';
import type { KmeansStart } from './options.js';
import type { VqvaeTask } from './task.js';

/** First round: what the scales leave over if every vector were a code; second: what they leave over with the codes found then. */
const ROUNDS = 2;

/** Starts the codebook by k-means of the vectors that the scales look up in the features of the first batches. */
export async function startCodes(
  task: VqvaeTask,
  options: KmeansStart,
  batches: AsyncIterable<ImageBatch>,
  signal?: AbortSignal,
): Promise<void> {
  const { engine, params, model, settings } = task;
  params.bind(engine, model);
  const features: Tensor[] = [];
  try {
    for await (const batch of batches) {
      throwIfAborted(signal);
      features.push(engine.scope(() => model.encode(engine, task.images3(batch))));
      await engine.throttle();
      if (features.length >= options.batches) break;
    }
    if (features.length === 0) throw new ArgumentError('k-means: the dataset gave no batch');
    for (let round = 0; round < ROUNDS; round++) {
      using sample = await vectorsOf(task, features, options.maxVectors, round);
      const { seed, config } = settings;
      const { iterations, start } = options;
      const codes = await kmeansCodes(engine, sample, config.vocabSize, { seed, iterations, start, cosine: config.usingZnorm, signal });
      engine.ops.writeSlice(params.get(CODEBOOK), codes, { axis: 0, start: 0 });
      codes.dispose();
    }
  } finally {
    for (const f of features) f.dispose();
    model.dispose();
  }
}

/** At most `most` vectors [N, C] of all batches and scales, drawn evenly. */
async function vectorsOf(
  { engine, model, settings }: VqvaeTask,
  features: readonly Tensor[],
  most: number,
  round: number,
): Promise<Tensor> {
  const { config, seed } = settings;
  let all: Tensor | undefined;
  for (const [i, f] of features.entries()) {
    const share = Math.ceil(most / features.length);
    const part = engine.scope(() => {
      const vectors = scaleResiduals(engine, model.quantize, config, f, round > 0);
      const n = vectors.shape[0]!;
      return n <= share ? vectors : gather(engine, vectors, drawRows(seed, `kmeans.sample.${round}`, i, share, n));
    });
    const joined = all ? engine.ops.concat(all, part, { axis: 0 }) : part;
    if (all) {
      all.dispose();
      part.dispose();
    }
    all = joined;
    await engine.throttle();
  }
  return all!;
}
