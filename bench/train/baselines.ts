// What a trained model has to beat: enlarged small photos for a VQVAE, frequencies of tokens for a VAR.
import { psnr } from '../../ts/cli/grid.js';
import { ImageLoader, openDataset, TokenSource, tokensPerImage } from '../../ts/data/index.js';
import { createEngine } from '../../ts/engine/index.js';

/**
 * Mean PSNR (dB) of the validation photos, cropped as the evaluation does, against themselves reduced to `small` pixels (mean of areas, rounded to
 * bytes) and enlarged by the bicubic kernel of F.interpolate.
 */
export async function bicubicPsnr(data: string, reso: number, small: number, midReso = 1.125): Promise<number> {
  const train = await openDataset(data, { split: 'train' });
  const { classes } = train;
  await train.close();
  const loader = await ImageLoader.open(await openDataset(data, { split: 'val', classes }), { reso, midReso, mode: 'val', batchSize: 16 });
  const engine = await createEngine();
  const { ops } = engine;
  const size = 3 * reso * reso;
  let [sum, count] = [0, 0];
  try {
    for await (const { pixels, labels } of loader.epoch(0)) {
      const y = engine.scope(() => {
        const x = ops.imageToUnit(engine.tensor(pixels, [labels.length, reso, reso, 3]));
        const bytes = ops.unitToImage(ops.interpolate(x, { mode: 'area', outH: small, outW: small }));
        return ops.unitToImage(ops.interpolate(ops.imageToUnit(bytes), { mode: 'bicubic', outH: reso, outW: reso }));
      });
      const enlarged = (await y.read()) as Uint8Array;
      y.dispose();
      for (let b = 0; b < labels.length; b++, count++)
        sum += psnr(pixels.slice(b * size, (b + 1) * size), enlarged.slice(b * size, (b + 1) * size));
    }
  } finally {
    await loader.close();
    await engine.close();
  }
  return sum / count;
}

export interface Frequencies {
  /** Nats per validation token under the frequencies of the training tokens, of all scales together and of every scale by itself. */
  readonly pooled: number;
  readonly perScale: number;
  /** ln of the number of codewords. */
  readonly uniform: number;
}

/** Views of the training images that are counted. */
const EPOCHS = 8;

interface Rows {
  readonly rows: readonly Int32Array[];
  readonly patchNums: readonly number[];
  readonly vocabSize: number;
}

/** Tokens of every image, in mode 'train' of as many drawn variants as there are epochs. */
async function rows(folder: string, mode: 'train' | 'val', epochs: number): Promise<Rows> {
  const source = await TokenSource.open(folder, { mode, batchSize: 60 });
  const { patchNums, vocabSize } = source.index;
  const length = tokensPerImage(patchNums);
  const all: Int32Array[] = [];
  for (let ep = 0; ep < epochs; ep++)
    for await (const { tokens, labels } of source.epoch(ep))
      for (let b = 0; b < labels.length; b++) all.push(tokens.slice(b * length, (b + 1) * length));
  await source.close();
  return { rows: all, patchNums, vocabSize };
}

/** Cross-entropy of validation tokens under the frequencies of training tokens; every count is one more than seen. */
export async function tokenFrequencies(trainFolder: string, valFolder: string): Promise<Frequencies> {
  const [train, val] = [await rows(trainFolder, 'train', EPOCHS), await rows(valFolder, 'val', 1)];
  const { patchNums, vocabSize } = train;
  const scaleOf = patchNums.flatMap((pn, si) => new Array<number>(pn * pn).fill(si));
  const pooled = new Float64Array(vocabSize).fill(1);
  const counts = patchNums.map(() => new Float64Array(vocabSize).fill(1));
  for (const row of train.rows)
    for (const [i, token] of row.entries()) {
      pooled[token]!++;
      counts[scaleOf[i]!]![token]!++;
    }
  const total = (list: Float64Array): number => list.reduce((a, b) => a + b, 0);
  const [all, each] = [total(pooled), counts.map(total)];
  let [sumPooled, sumScale, n] = [0, 0, 0];
  for (const row of val.rows)
    for (const [i, token] of row.entries()) {
      const si = scaleOf[i]!;
      sumPooled -= Math.log(pooled[token]! / all);
      sumScale -= Math.log(counts[si]![token]! / each[si]!);
      n++;
    }
  return { pooled: sumPooled / n, perScale: sumScale / n, uniform: Math.log(vocabSize) };
}
