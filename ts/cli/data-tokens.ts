// nextscale data tokens: the tokens of a dataset, once and for all.
import { Command, Option } from 'commander';
import { ArgumentError } from '../core/errors.js';
import {
  buildTokenCache,
  fingerprint,
  openDataset,
  type Split,
  type Tokenize,
  TokenSource,
  tokensPerImage,
  variantsOf,
} from '../data/index.js';
import type { VQVAE } from '../sample/index.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { loadModels, type ModelOptions, modelOptions } from './models.js';
import { integer, number } from './options.js';

interface TokensOptions extends CommonOptions, ModelOptions {
  out: string;
  split: Split;
  crops: number;
  flips?: boolean;
  seed: number;
  midReso: number;
  batch: number;
  exif: 'ignore' | 'apply';
}

/** The tokenizer of a VQVAE for caches: bytes to the tokens of all scales in order. */
export function tokenizer(vqvae: VQVAE, batch: number): Tokenize {
  const { engine, resolution, model } = vqvae;
  const bytes = 3 * resolution ** 2;
  const length = tokensPerImage(vqvae.config.patchNums);
  return async (pixels, count) => {
    await vqvae.loadEncoder();
    const out = new Int32Array(count * length);
    for (let at = 0; at < count; at += batch) {
      const n = Math.min(batch, count - at);
      using tokens = engine.scope(() => {
        const u8 = engine.tensor(pixels.subarray(at * bytes, (at + n) * bytes), [n, resolution, resolution, 3], 'u8');
        return model.imgToIdxBl(engine, engine.ops.imageToUnit(u8)).reduce((all, scale) => engine.ops.concat(all, scale, { axis: 1 }));
      });
      out.set((await tokens.read()) as Int32Array, at * length);
    }
    return out;
  };
}

async function build(ctx: Context, path: string, options: TokensOptions): Promise<void> {
  if (options.split === 'val' && (options.crops !== 1 || options.flips))
    throw new ArgumentError('--split val: cannot be combined with --crops or --flips, validation takes the centre crop');
  if (options.vae === undefined)
    throw new ArgumentError('--vae: nothing was given, accepted: a checkpoint of a VQVAE (its file names the cache)');
  const dataset = await openDataset(path, { split: options.split, signal: ctx.signal });
  try {
    const vqvae = await fingerprint(options.vae);
    await using models = await loadModels(ctx, options, 'vae');
    const { patchNums, vocabSize } = models.vqvae.config;
    const since = performance.now();
    using progress = ctx.progress('tokens', dataset.length);
    let before = 0;
    const index = await buildTokenCache(dataset, tokenizer(models.vqvae, options.batch), {
      ...{ out: options.out, vqvae, patchNums, vocabSize, reso: models.vqvae.resolution, midReso: options.midReso },
      ...{ mode: options.split, crops: options.crops, flips: options.flips === true, seed: options.seed, exif: options.exif },
      batchSize: options.batch,
      perShard: 256,
      signal: ctx.signal,
      onProgress: (done) => {
        for (; before < done; before++) progress.step();
      },
    });
    progress.stop();
    const source = await TokenSource.open(options.out, { mode: options.split, batchSize: 1 });
    const skipped = Object.entries(index.skipped);
    for (const [name, why] of skipped) ctx.warn(`${name}: ${why}; another image stands in its place`);
    const perImage = tokensPerImage(patchNums);
    const text = `${source.describe()}\n${perImage} tokens per view, ${variantsOf(index)} views per image, in ${duration((performance.now() - since) / 1000)}`;
    const { images } = index.dataset;
    ctx.result(
      {
        out: options.out,
        images,
        classes: index.classes,
        patchNums,
        tokens: perImage,
        variants: variantsOf(index),
        skipped: index.skipped,
      },
      text,
    );
  } finally {
    await dataset.close();
  }
}

export function tokensCommand(signal: AbortSignal): Command {
  const command = common(new Command('tokens')).description('Compute the tokens of a dataset, so that training a VAR needs no encoder.');
  return modelOptions(command, 'vae')
    .argument('<path>', 'folder, list or tar shards')
    .requiredOption('--out <folder>', 'folder of the token cache; a cache half built is continued')
    .addOption(new Option('--split <part>', 'part of the dataset').choices(['train', 'val']).default('train'))
    .option('--crops <k>', 'random crops per image; training draws from them', integer('--crops', 1, 4096), 1)
    .option('--flips', 'every crop also mirrored')
    .option('--seed <n>', 'seed of the crops', integer('--seed', 0), 0)
    .option('--mid-reso <x>', 'the shorter edge becomes x times the resolution before the crop', number('--mid-reso', 1, 16), 1.125)
    .addOption(new Option('--exif <how>', 'EXIF orientation').choices(['ignore', 'apply']).default('ignore'))
    .option('--batch <n>', 'images encoded at once', integer('--batch', 1, 4096), 8)
    .addHelpText('after', '\nExample:\n  nextscale data tokens photos/ --vae vae.pth --crops 4 --flips --out tokens/')
    .action(async (path: string, options: TokensOptions) => build(new Context(options, signal), path, options));
}
