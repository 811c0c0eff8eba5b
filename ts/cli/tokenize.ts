// nextscale tokenize: images to a file of tokens.
import { dirname } from 'node:path';
import { Command } from 'commander';
import { joinTokens } from '../sample/tokens.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { ensureFolder, imageFiles } from './images.js';
import { loadModels, type ModelOptions, modelOptions } from './models.js';
import { checkTokensName, writeTokens } from './tokens-file.js';

interface TokenizeCliOptions extends CommonOptions, ModelOptions {
  out: string;
}

const PART = 4;

async function tokenize(ctx: Context, paths: readonly string[], options: TokenizeCliOptions): Promise<void> {
  checkTokensName('--out', options.out);
  const files = await imageFiles(paths);
  await ensureFolder('--out', dirname(options.out));
  await using models = await loadModels(ctx, options, 'vae');
  const { vqvae } = models;
  const { patchNums } = vqvae.config;
  const since = performance.now();
  using progress = ctx.progress('tokenize', files.length);
  const parts: Int32Array[][] = [];
  for (let at = 0; at < files.length; at += PART) {
    const part = files.slice(at, at + PART);
    parts.push((await vqvae.tokenize(part, { signal: ctx.signal })).tokens);
    for (const file of part) progress.step(file);
  }
  progress.stop();
  const tokens = patchNums.map((_, si) => joinTokens(parts.map((part) => part[si]!)));
  await writeTokens(options.out, { patchNums: [...patchNums], images: files, tokens }, ctx.signal);
  const seconds = (performance.now() - since) / 1000;
  const scales = patchNums.map((pn, si) => ({
    patchNum: pn,
    tokens: tokens[si]!.length / files.length,
    distinct: new Set(tokens[si]).size,
  }));
  const perImage = scales.reduce((sum, s) => sum + s.tokens, 0);
  const table = scales.map(
    (s, si) =>
      `  scale ${String(si + 1).padStart(2)}  ${`${s.patchNum} x ${s.patchNum}`.padEnd(8)} ${String(s.distinct).padStart(5)} distinct tokens`,
  );
  const text = [`${options.out}: ${files.length} images, ${perImage} tokens each, in ${duration(seconds)}`, ...table].join('\n');
  ctx.result(
    {
      out: options.out,
      images: files,
      resolution: vqvae.resolution,
      patchNums,
      scales,
      tokensPerImage: perImage,
      random: models.random,
      seconds,
    },
    text,
  );
}

export function tokenizeCommand(signal: AbortSignal): Command {
  const command = common(new Command('tokenize')).description('Turn images into the tokens of every scale.');
  return modelOptions(command, 'vae')
    .argument('<images...>', 'image files, or folders of them')
    .requiredOption('--out <file>', 'file to write: .safetensors or .json')
    .addHelpText('after', '\nExample:\n  nextscale tokenize --vae vae_ch160v4096z32.pth photos/ --out tokens.safetensors')
    .action(async (paths: string[], options: TokenizeCliOptions) => tokenize(new Context(options, signal), paths, options));
}
