// nextscale generate: labels to a grid of images.
import { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { RgbImage } from '../sample/index.js';
import { checkRequest } from '../sample/options.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { where } from './device.js';
import { grid } from './grid.js';
import { outputPaths, writePng } from './images.js';
import { loadModels, type ModelOptions, type Models, modelOptions } from './models.js';
import { classNamesOf, integer, labels, number, readClassNames } from './options.js';

interface GenerateCliOptions extends CommonOptions, ModelOptions {
  labels?: number[];
  random?: number;
  seed: number;
  cfg: number;
  topK: number;
  topP: number;
  moreSmooth?: boolean;
  out: string;
  perScale?: boolean;
  columns?: number;
  batch: number;
  classNames?: string;
}

interface Item {
  label: number;
  seed: number;
}

/** Every image has a seed of its own, so that it can be made again alone and the batch size changes nothing. */
function items(models: Models, options: GenerateCliOptions): Item[] {
  const { config } = models.var;
  return (options.labels ?? Array.from({ length: options.random ?? 1 }, () => undefined)).map((label, i) => {
    const seed = options.seed + i;
    if (label !== undefined && label >= config.numClasses)
      throw new ArgumentError(`--labels: got ${label}, accepted: 0 to ${config.numClasses - 1} (the classes of this model)`);
    return { label: label ?? checkRequest({ seed }, config).labels[0]!, seed };
  });
}

interface Made {
  images: RgbImage[];
  /** scales[si][i]: image i after scale si; empty unless asked for */
  scales: RgbImage[][];
  tokens: number;
}

async function make(ctx: Context, models: Models, list: readonly Item[], options: GenerateCliOptions): Promise<Made> {
  const { patchNums } = models.var.config;
  const steps = patchNums.length * Math.ceil(list.length / options.batch);
  using progress = ctx.progress('generate', steps);
  const out: Made = { images: [], scales: options.perScale ? patchNums.map(() => []) : [], tokens: 0 };
  for (let at = 0; at < list.length; at += options.batch) {
    const part = list.slice(at, at + options.batch);
    const { images, tokens } = await models.var.generate({
      labels: part.map((item) => item.label),
      seed: part.map((item) => item.seed),
      cfg: options.cfg,
      topK: Math.min(options.topK, models.var.config.vocabSize),
      topP: options.topP,
      moreSmooth: options.moreSmooth ?? false,
      scalePreviews: options.perScale ?? false,
      signal: ctx.signal,
      onScale: ({ scale, of, patchNum, images }) => {
        out.scales[scale]?.push(...images);
        progress.step(`scale ${scale + 1} of ${of} (${patchNum} x ${patchNum})`);
      },
    });
    out.images.push(...images);
    out.tokens += tokens.reduce((sum, t) => sum + t.length, 0);
  }
  return out;
}

async function generate(ctx: Context, options: GenerateCliOptions): Promise<void> {
  if (options.labels && options.random !== undefined) throw new ArgumentError('--random: cannot be combined with --labels');
  const nameOf = options.classNames ? await readClassNames(options.classNames) : await classNamesOf(options.var);
  const { file, folder, stem } = await outputPaths(options.out, 'grid');
  await using models = await loadModels(ctx, options);
  const list = items(models, options);
  const since = performance.now();
  const made = await make(ctx, models, list, options);
  const seconds = (performance.now() - since) / 1000;
  const captions = list.map(({ label, seed }) => `${label}${nameOf(label) ? ` ${nameOf(label)}` : ''} #${seed}`);
  const title = models.random ? 'random weights, untrained' : undefined;
  const { columns } = options;
  const files: string[] = [];
  for (const [si, images] of made.scales.entries()) {
    const pn = models.var.config.patchNums[si]!;
    const name = `${stem}-scale-${String(si + 1).padStart(2, '0')}-${pn}x${pn}.png`;
    files.push(await writePng(name, grid(images, { captions, columns, title }), ctx.signal));
  }
  if (options.out === folder) {
    for (const [i, image] of made.images.entries()) {
      files.push(await writePng(`${folder}/image-${String(i).padStart(3, '0')}-label${list[i]!.label}.png`, image, ctx.signal));
    }
  }
  files.push(await writePng(file, grid(made.images, { captions, columns, title }), ctx.signal));
  const data = {
    out: file,
    files,
    images: list.map((item, i) => ({ ...item, name: nameOf(item.label), width: made.images[i]!.width, height: made.images[i]!.height })),
    random: models.random,
    device: models.engine.device,
    precision: options.precision,
    threads: models.engine.threads,
    seconds,
    totalSeconds: ctx.seconds(),
    peakBytes: models.engine.memory().peakBytes,
  };
  const each = duration(seconds / list.length);
  ctx.result(
    data,
    `${file}: ${list.length} image${list.length > 1 ? 's' : ''} in ${duration(seconds)} (${each} each, ${where(models.engine)})`,
  );
}

export function generateCommand(signal: AbortSignal): Command {
  const command = common(new Command('generate')).description('Generate class-conditional images and write a labelled PNG grid.');
  return modelOptions(command)
    .option('--labels <list>', "classes: '1,2,3', '207x4' (four of 207), or both", labels('--labels'))
    .option('--random <n>', 'this many classes drawn from the seed (default: 1)', integer('--random', 1, 4096))
    .option('--seed <n>', 'image i is made with seed n + i', integer('--seed', 0, Number.MAX_SAFE_INTEGER - 65536), 0)
    .option('--cfg <x>', 'classifier-free guidance, 0 to 100', number('--cfg', 0, 100), 4)
    .option('--top-k <n>', 'draw from the k likeliest codewords; 0: from all', integer('--top-k', 0, 1 << 20), 900)
    .option('--top-p <p>', 'draw from the likeliest codewords of this probability; 0: from all', number('--top-p', 0, 1), 0.95)
    .option('--more-smooth', 'mix codewords by a Gumbel softmax')
    .option('--out <path>', 'grid as FILE.png, or a folder for grid and images', 'out')
    .option('--per-scale', 'also write the grid after every scale')
    .option('--columns <n>', 'columns of the grid', integer('--columns', 1, 1000))
    .option('--batch <n>', 'images computed together', integer('--batch', 1, 256), 4)
    .option('--class-names <file>', 'names of the classes for the captions: JSON, or one a line')
    .addHelpText(
      'after',
      '\nExample:\n  nextscale generate --vae vae_ch160v4096z32.pth --var var_d16.pth --labels 207x4,88 --seed 3 --out birds.png',
    )
    .action(async (options: GenerateCliOptions) => generate(new Context(options, signal), options));
}
