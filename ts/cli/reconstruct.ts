// nextscale reconstruct: images through the tokens and back, side by side; or tokens to images.
import { join } from 'node:path';
import { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { RawImage } from '../data/index.js';
import type { RgbImage } from '../sample/index.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { grid, psnr } from './grid.js';
import { ensureFolder, imageFiles, loadPicture, uniqueNames, writePng } from './images.js';
import { loadModels, type ModelOptions, type Models, modelOptions } from './models.js';
import { checkTokensName, readTokens } from './tokens-file.js';

interface ReconstructOptions extends CommonOptions, ModelOptions {
  out: string;
  tokens?: string;
  perScale?: boolean;
}

interface Row {
  file: string;
  out: string;
  /** dB, after every scale where asked for, else after the last; absent for tokens */
  psnr?: number[];
}

const dB = (v: number): string => (Number.isFinite(v) ? `${v.toFixed(2)} dB` : 'equal');

/** One strip: the original (if there is one), then the reconstruction, or the image after every scale. */
function strip(
  original: RawImage | undefined,
  images: readonly RawImage[],
  patchNums: readonly number[],
  perScale: boolean,
): { strip: RawImage; psnr?: number[] } {
  const values = original && images.map((image) => psnr(original.data, image.data));
  const names = perScale ? patchNums.map((pn, si) => `${si + 1}: ${pn}x${pn}`) : ['reconstruction'];
  const captions = [...(original ? ['original'] : []), ...names.map((name, i) => (values ? `${name} ${dB(values[i]!)}` : name))];
  return {
    strip: grid([...(original ? [original] : []), ...images], { captions, columns: captions.length > 8 ? 6 : captions.length }),
    psnr: values,
  };
}

async function fromImages(ctx: Context, models: Models, paths: readonly string[], options: ReconstructOptions): Promise<Row[]> {
  const files = await imageFiles(paths);
  const names = uniqueNames(files);
  const { vqvae, engine } = models;
  const rows: Row[] = [];
  using progress = ctx.progress('reconstruct', files.length);
  for (const [i, file] of files.entries()) {
    const original = await loadPicture(engine, file, vqvae.resolution);
    const { images, scales } = await vqvae.reconstruct(original, { everyScale: options.perScale ?? false, signal: ctx.signal });
    const shown = options.perScale ? scales.map((scale) => scale[0]!) : images;
    const made = strip(original, shown, vqvae.config.patchNums, options.perScale === true);
    rows.push({ file, out: await writePng(join(options.out, `${names[i]}-reconstruction.png`), made.strip, ctx.signal), psnr: made.psnr });
    progress.step(file);
  }
  return rows;
}

async function fromTokens(ctx: Context, models: Models, path: string, options: ReconstructOptions): Promise<Row[]> {
  const { patchNums, images: files, tokens } = await readTokens(path);
  const names = uniqueNames(files);
  const rows: Row[] = [];
  using progress = ctx.progress('decode', files.length);
  for (const [i, file] of files.entries()) {
    const own = tokens.map((all) => all.slice((i * all.length) / files.length, ((i + 1) * all.length) / files.length));
    const { images, scales } = await models.vqvae.decode(own, {
      count: 1,
      patchNums,
      everyScale: options.perScale ?? false,
      signal: ctx.signal,
    });
    const shown: readonly RgbImage[] = options.perScale ? scales.map((scale) => scale[0]!) : images;
    const picture = options.perScale ? strip(undefined, shown, patchNums, true).strip : shown[0]!;
    rows.push({ file, out: await writePng(join(options.out, `${names[i]}-decoded.png`), picture, ctx.signal) });
    progress.step(file);
  }
  return rows;
}

function render(rows: readonly Row[], patchNums: readonly number[], seconds: number): string {
  const lines = rows.map((row) => `${row.out}${row.psnr?.length === 1 ? `  PSNR ${dB(row.psnr[0]!)}` : ''}`);
  if ((rows[0]?.psnr?.length ?? 0) > 1) {
    lines.push('', `PSNR ${patchNums.map((pn) => `${pn}x${pn}`.padStart(6)).join(' ')}`);
    for (const row of rows) lines.push(`     ${row.psnr!.map((v) => v.toFixed(2).padStart(6)).join(' ')}  ${row.file}`);
  }
  return [...lines, `${rows.length} image${rows.length > 1 ? 's' : ''} in ${duration(seconds)}`].join('\n');
}

async function reconstruct(ctx: Context, paths: readonly string[], options: ReconstructOptions): Promise<void> {
  if (options.tokens && paths.length) throw new ArgumentError('--tokens: cannot be combined with IMAGES');
  if (!options.tokens && paths.length === 0)
    throw new ArgumentError('IMAGES: nothing was given, accepted: image files or folders, or --tokens FILE');
  if (options.tokens) checkTokensName('--tokens', options.tokens);
  await ensureFolder('--out', options.out);
  await using models = await loadModels(ctx, options, 'vae');
  const since = performance.now();
  const rows = options.tokens ? await fromTokens(ctx, models, options.tokens, options) : await fromImages(ctx, models, paths, options);
  const seconds = (performance.now() - since) / 1000;
  const { patchNums } = models.vqvae.config;
  ctx.result({ out: options.out, images: rows, patchNums, random: models.random, seconds }, render(rows, patchNums, seconds));
}

export function reconstructCommand(signal: AbortSignal): Command {
  const command = common(new Command('reconstruct')).description(
    'Put images and their reconstruction side by side, with the PSNR; or decode a file of tokens.',
  );
  return modelOptions(command, 'vae')
    .argument('[images...]', 'image files, or folders of them')
    .option('--tokens <file>', 'decode the tokens of this file instead of images')
    .option('--out <dir>', 'folder to write to', 'out')
    .option('--per-scale', 'show the image after every scale')
    .addHelpText('after', '\nExample:\n  nextscale reconstruct --vae vae_ch160v4096z32.pth photos/cat.jpg --out out --per-scale')
    .action(async (paths: string[], options: ReconstructOptions) => reconstruct(new Context(options, signal), paths, options));
}
