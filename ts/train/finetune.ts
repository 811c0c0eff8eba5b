// Starting from trained weights with other classes.
import type { Engine } from '../engine/index.js';
import type { VarConfig } from '../models/var/index.js';
import { VarModel } from '../models/var/index.js';
import { InitSource, type WeightSource } from '../nn/index.js';

const CLASS_EMB = 'class_emb.weight';

export interface FinetuneStart {
  readonly weights: WeightSource;
  readonly config: Partial<VarConfig>;
  /** What was kept and what starts anew. */
  readonly note: string;
}

/**
 * The weights of `source` for `numClasses` classes. With the same number everything is kept. Otherwise all tensors but the class embeddings
 * are; the row of the unconditional class stays the last, the rows of the classes are the mean of the old ones plus a draw as at the start of
 * training.
 */
export function finetuneStart(source: WeightSource, config: VarConfig, numClasses: number, seed: number): FinetuneStart {
  const next = { ...config, numClasses };
  if (numClasses === config.numClasses)
    return {
      weights: source,
      config: next,
      note: `all ${[...source.keys()].length} tensors kept, also those of the ${numClasses} classes`,
    };
  const fresh = new InitSource(new VarModel(next).parameters(), seed);
  const shape = [numClasses + 1, config.embedDim];
  const weights: WeightSource = {
    path: source.path,
    keys: () => source.keys(),
    has: (key) => source.has(key),
    info: (key) => (key === CLASS_EMB ? { dtype: 'f32', shape } : source.info(key)),
    load: async (engine, key, options) =>
      key === CLASS_EMB ? await classEmbeddings(engine, source, fresh, shape) : await source.load(engine, key, options),
  };
  const note =
    `all tensors kept but ${CLASS_EMB}: ${config.numClasses} classes before, ${numClasses} now; ` +
    'the unconditional row is kept, the others start at the mean of the old ones';
  return { weights, config: next, note };
}

async function classEmbeddings(engine: Engine, source: WeightSource, fresh: WeightSource, shape: readonly number[]) {
  const [rows, width] = shape as [number, number];
  const read = async (from: WeightSource): Promise<Float32Array> => {
    const tensor = await from.load(engine, CLASS_EMB, { dtype: 'f32' });
    return (await tensor.read().finally(() => tensor.dispose())) as Float32Array;
  };
  const [old, out] = [await read(source), await read(fresh)];
  const classes = old.length / width - 1;
  for (let c = 0; c < width; c++) {
    let mean = 0;
    for (let row = 0; row < classes; row++) mean += old[row * width + c]! / classes;
    for (let row = 0; row < rows - 1; row++) out[row * width + c]! += mean;
    out[(rows - 1) * width + c] = old[classes * width + c]!;
  }
  return engine.tensor(out, [rows, width]);
}
