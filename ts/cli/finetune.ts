// nextscale finetune: released or own VAR weights, other classes.
import type { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import { openDataset, TokenSource } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import { buildVar } from '../train/build-var.js';
import type { Fields } from '../train/config/fields.js';
import { VAR_FIELDS, type VarArgs, varArgs } from '../train/config/var.js';
import { finetuneStart } from '../train/finetune.js';
import { type OpenedFile, openWeightsFile, varConfigOf, vqvaeConfigOf } from '../train/weights.js';
import { Context, common } from './context.js';
import { runOptions } from './train.js';
import { FieldCommand } from './train-flags.js';
import { openEngine, type Prepared, prepareVar, type RunOptions, runTraining } from './train-run.js';

/** Options that the weights decide. */
const DECIDED = ['depth', 'width', 'heads', 'saln', 'anorm'] as const;

/** Fills in what the weights say; an option that contradicts them is an error. */
async function decided(given: Record<string, unknown>, options: RunOptions): Promise<VarArgs> {
  const args = varArgs(given, 'finetune');
  if (args.from === '') throw new ArgumentError('--from: nothing was given, accepted: weights of a VAR (.safetensors, .pth)');
  if (args.vae === '') throw new ArgumentError('--vae: nothing was given, accepted: the VQVAE that belongs to --from');
  using files = await openBoth(args);
  const { vae, file } = files;
  await using engine = await openEngine({ ...options, threads: 1 });
  const patchNums = args.patch_nums ?? undefined;
  const config = await varConfigOf(engine, file, vqvaeConfigOf(vae, patchNums && { patchNums }));
  const found = { depth: config.depth, width: config.embedDim, heads: config.numHeads, saln: config.sharedAln, anorm: config.attnL2Norm };
  for (const name of DECIDED)
    if (given[name] !== undefined && given[name] !== 0 && given[name] !== found[name])
      throw new ArgumentError(`--${name}: got '${String(given[name])}', accepted: ${found[name]}, which ${args.from} has`);
  return varArgs({ ...given, ...found, pn: given.pn ?? config.patchNums.join('_') }, 'finetune');
}

interface Files extends Disposable {
  readonly vae: OpenedFile;
  readonly file: OpenedFile;
}

async function openBoth(args: VarArgs): Promise<Files> {
  const vae = await openWeightsFile(args.vae, 'vqvae');
  try {
    const file = await openWeightsFile(args.from, 'var');
    const close = () => {
      vae.checkpoint.close();
      file.checkpoint.close();
    };
    return { vae, file, [Symbol.dispose]: close };
  } catch (error) {
    vae.checkpoint.close();
    throw error;
  }
}

async function classCount(args: VarArgs, signal: AbortSignal): Promise<number> {
  if (args.tokens !== '') {
    const source = await TokenSource.open(args.tokens, { mode: 'val', batchSize: 1 }).catch(() =>
      TokenSource.open(args.tokens, { mode: 'train', batchSize: 1 }),
    );
    await source.close();
    return source.numClasses;
  }
  if (args.data_path === '') throw new ArgumentError('--data_path: nothing was given, accepted: a folder of images, a list, or shards');
  const dataset = await openDataset(args.data_path, { split: 'train', signal });
  await dataset.close();
  return dataset.numClasses;
}

async function prepare(ctx: Context, given: Record<string, unknown>, options: RunOptions): Promise<Prepared> {
  const args = await decided(given, options);
  const classes = await classCount(args, ctx.signal);
  const prepared = prepareVar(args, ctx.signal);
  const build = async (engine: Engine) => {
    using files = await openBoth(args);
    const { vae, file } = files;
    const config = await varConfigOf(engine, file, vqvaeConfigOf(vae, args.patch_nums ? { patchNums: args.patch_nums } : {}));
    const { note, ...start } = finetuneStart(file.weights, config, classes, args.seed);
    ctx.note(`${args.from}: ${note}`);
    return await buildVar(engine, args, { signal: ctx.signal, start });
  };
  return { ...prepared, build };
}

export function finetuneCommand(signal: AbortSignal): Command {
  const command = new FieldCommand('finetune').description('Go on from trained VAR weights with images of other classes.');
  runOptions(common(command));
  return command
    .withFields(VAR_FIELDS as Fields)
    .addHelpText(
      'after',
      '\nExample:\n  nextscale finetune --from var_d16.pth --vae vae_ch160v4096z32.pth --data photos/ --ep 10 --bs 16 --out runs/mine',
    )
    .action(async (_given: unknown, self: FieldCommand) => {
      const options = self.opts<RunOptions>();
      const ctx = new Context(options, signal);
      const given = await self.given(options.config);
      await runTraining(ctx, await prepare(ctx, given, options), options, process.argv.slice(2).join(' '));
    });
}
