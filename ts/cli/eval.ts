// nextscale eval: the validation metrics of trained weights.
import { Command, Option } from 'commander';
import { ArgumentError } from '../core/errors.js';
import { type Batch, type BatchSource, fingerprint, ImageLoader, openDataset, type Split, TokenSource } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';
import type { Metrics, Task } from '../train/index.js';
import { VarTask } from '../train/var/index.js';
import { VqvaeTask } from '../train/vqvae/index.js';
import { type OpenedFile, openWeightsFile, varConfigOf, vqvaeConfigOf } from '../train/weights.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { type DeviceOptions, deviceOptions } from './device.js';
import { integer, number, patchNums } from './options.js';
import { openEngine } from './train-run.js';

interface EvalOptions extends CommonOptions, DeviceOptions {
  ckpt: string;
  data?: string;
  vae?: string;
  tokens?: string;
  split: Split;
  bs: number;
  midReso: number;
  patchNums?: number[];
}

type Family = 'vqvae' | 'var';

/** Images, or tokens, as validation sees them; the classes must be the model's. */
async function source(options: EvalOptions, config: VqvaeConfig, tokensOf: string, signal: AbortSignal): Promise<BatchSource> {
  const reso = config.patchNums.at(-1)! * 2 ** (config.chMult.length - 1);
  const { bs: batchSize, midReso } = options;
  if (options.tokens !== undefined) {
    const expect = { vqvae: await fingerprint(tokensOf), patchNums: config.patchNums, vocabSize: config.vocabSize, reso };
    return await TokenSource.open(options.tokens, { mode: 'val', batchSize, expect });
  }
  if (options.data === undefined) throw new ArgumentError('--data: nothing was given, accepted: a folder of images, a list, or shards');
  const classes = options.split === 'val' ? await trainClasses(options.data, signal) : undefined;
  const dataset = await openDataset(options.data, { split: options.split, ...(classes ? { classes } : {}), signal });
  return await ImageLoader.open(dataset, { mode: 'val', batchSize, reso, midReso });
}

/** Names of the training part, so that labels agree where the validation part lacks a class. */
async function trainClasses(path: string, signal: AbortSignal): Promise<readonly string[] | undefined> {
  const train = await openDataset(path, { split: 'train', signal }).catch(() => undefined);
  await train?.close();
  return train?.classes;
}

/** The VQVAE: its own file, or the one in the checkpoint of a run. */
async function vqvaeFile(
  options: EvalOptions,
  opened: OpenedFile,
): Promise<{ file: OpenedFile; given: Partial<VqvaeConfig>; path: string }> {
  const asked = options.patchNums ?? (opened.config.patchNums as number[] | undefined);
  const path = options.vae ?? options.ckpt;
  const file = await openWeightsFile(path, 'vqvae').catch((error: unknown) => {
    if (options.vae !== undefined) throw error;
    throw new ArgumentError(`--vae: nothing was given, and ${options.ckpt} holds no VQVAE; accepted: a VQVAE (.safetensors, .pth)`);
  });
  return { file, given: asked ? { patchNums: asked } : {}, path };
}

interface Loaded {
  task: Task;
  config: VqvaeConfig;
  tokensOf: string;
  numClasses?: number;
}

async function loadTask(engine: Engine, family: Family, options: EvalOptions): Promise<Loaded> {
  const opened = await openWeightsFile(options.ckpt, family);
  try {
    if (family === 'vqvae') {
      const config = vqvaeConfigOf(opened, options.patchNums ? { patchNums: options.patchNums } : {});
      const task = await VqvaeTask.create(engine, { config, kmeans: false }, opened.weights);
      await engine.flush();
      return { task: task as unknown as Task, config, tokensOf: options.ckpt };
    }
    const { file, given, path } = await vqvaeFile(options, opened);
    try {
      const config = vqvaeConfigOf(file, given);
      const model = await varConfigOf(engine, opened, config);
      const task = await VarTask.create(engine, { config, weights: file.weights }, { config: model }, opened.weights);
      await engine.flush();
      return { task, config, tokensOf: path, numClasses: model.numClasses };
    } finally {
      file.checkpoint.close();
    }
  } finally {
    opened.checkpoint.close();
  }
}

async function evaluate(ctx: Context, family: Family, options: EvalOptions): Promise<void> {
  const engine = await openEngine(options, options.tf32);
  try {
    const { task, config, tokensOf, numClasses } = await loadTask(engine, family, options);
    const batches = await source(options, config, tokensOf, ctx.signal);
    try {
      if (numClasses !== undefined && batches.numClasses > numClasses)
        throw new ArgumentError(`--data: it has ${batches.numClasses} classes, the model ${numClasses}`);
      const since = performance.now();
      const { metrics, count } = await measure(ctx, task, batches);
      const seconds = (performance.now() - since) / 1000;
      for (const [name, why] of batches.skipped) ctx.warn(`${name}: ${why}; another image stood in its place`);
      const lines = Object.entries(metrics).map(([name, value]) => `${name.padEnd(14)} ${value.toFixed(4)}`);
      ctx.result(
        { ckpt: options.ckpt, family, images: count, metrics, seconds },
        [`${options.ckpt}: ${count} images in ${duration(seconds)}`, ...lines].join('\n'),
      );
    } finally {
      await batches.close();
      task.dispose();
    }
  } finally {
    await engine.close();
  }
}

async function measure(ctx: Context, task: Task, batches: BatchSource): Promise<{ metrics: Metrics; count: number }> {
  using progress = ctx.progress('eval', batches.iters);
  let count = 0;
  async function* counted(): AsyncGenerator<Batch, void, undefined> {
    for await (const batch of batches.epoch(0, 0, ctx.signal)) {
      yield batch;
      count += batch.labels.length;
      progress.step();
    }
  }
  return { metrics: await task.evaluate(counted(), ctx.signal), count };
}

function familyCommand(family: Family, signal: AbortSignal): Command {
  const command = common(new Command(family))
    .description(family === 'var' ? 'Loss and accuracy of a VAR.' : 'Reconstruction and use of the codebook of a VQVAE.')
    .requiredOption('--ckpt <file>', 'weights, or a checkpoint of a run')
    .option('--data <path>', 'images: a folder train/<class>/*, val/<class>/*; a list; shards');
  if (family === 'var')
    command
      .option('--vae <file>', 'the VQVAE; not needed for a checkpoint of a run')
      .option('--tokens <folder>', 'token cache in the place of images');
  command
    .addOption(new Option('--split <part>', 'part of the dataset').choices(['train', 'val']).default('val'))
    .option('--bs <n>', 'images computed together', integer('--bs', 1, 4096), 16)
    .option('--mid-reso <x>', 'the shorter edge becomes x times the resolution before the crop', number('--mid-reso', 1, 16), 1.125)
    .option(
      '--patch-nums <list>',
      "side lengths of the token maps, as '1_2_3_4', when the file does not tell them",
      patchNums('--patch-nums'),
    );
  return deviceOptions(command).action(async (options: EvalOptions) => evaluate(new Context(options, signal), family, options));
}

export function evalCommand(signal: AbortSignal): Command {
  const command = new Command('eval').description('Measure trained weights on a validation set.');
  for (const family of ['vqvae', 'var'] as const)
    command.addCommand(familyCommand(family, signal).exitOverride().showSuggestionAfterError());
  return command;
}
