// nextscale train vqvae|var: training under the reference's options.
import { Command, Option } from 'commander';
import type { Fields } from '../train/config/fields.js';
import { VAR_FIELDS, varArgs } from '../train/config/var.js';
import { VQVAE_FIELDS, vqvaeArgs } from '../train/config/vqvae.js';
import { Context, common } from './context.js';
import { integer } from './options.js';
import { FieldCommand } from './train-flags.js';
import { type Prepared, prepareVar, prepareVqvae, type RunOptions, runTraining } from './train-run.js';
import { smoke } from './train-smoke.js';

/** Options of the command line that are no options of the run. */
export function runOptions(command: Command): Command {
  return command
    .option('--config <file>', 'JSON file of options; flags win')
    .option('--resume <how>', 'auto: go on where the folder holds a run; never: refuse such a folder; or a checkpoint', 'auto')
    .option('--threads <n>', 'threads of the engine (default: all cores)', integer('--threads', 1, 1024))
    .addOption(new Option('--device <name>', 'device of the engine').choices(['cpu', 'cuda']).default('cpu'));
}

interface FamilyOf {
  readonly name: 'vqvae' | 'var';
  readonly description: string;
  readonly fields: Fields;
  readonly prepare: (given: Record<string, unknown>, signal: AbortSignal) => Prepared;
  readonly example: string;
}

/** Smaller defaults of --smoke; what is given wins. */
const SMOKE = { bs: 4, ep: 1, wp: 0.01, local_out_dir_path: '' };
const SMOKE_VAR = { ...SMOKE, depth: 2, width: 128, pg0: 1 };
const SMOKE_VQVAE = { ...SMOKE, ch: 32, ch_mult: '1_1_2', V: 64, Cvae: 16, pn: '1_2_3_4', kmeans_batches: 1 };

const FAMILIES: readonly FamilyOf[] = [
  {
    name: 'vqvae',
    description: 'Train a multi-scale VQVAE on images.',
    fields: VQVAE_FIELDS as Fields,
    prepare: (given, signal) => prepareVqvae(vqvaeArgs(given), signal),
    example: 'nextscale train vqvae --data photos/ --pn 1_2_3_4 --ch 64 --V 512 --bs 16 --ep 20 --out runs/vae',
  },
  {
    name: 'var',
    description: 'Train a VAR transformer on the tokens of a VQVAE.',
    fields: VAR_FIELDS as Fields,
    prepare: (given, signal) => prepareVar(varArgs(given), signal),
    example: 'nextscale train var --data photos/ --vae runs/vae/vae.safetensors --depth 8 --bs 32 --ep 50 --out runs/var',
  },
];

function familyCommand(family: FamilyOf, signal: AbortSignal): Command {
  const command = new FieldCommand(family.name).description(family.description);
  runOptions(common(command)).option('--smoke', 'try it out: synthetic images, a step, save, restore, a step, compare');
  command.withFields(family.fields);
  return command.addHelpText('after', `\nExample:\n  ${family.example}`).action(async (_given: unknown, self: FieldCommand) => {
    const options = self.opts<RunOptions>();
    const ctx = new Context(options, signal);
    const given = await self.given(options.config);
    if (options.smoke)
      return await smoke(ctx, family.prepare({ ...(family.name === 'var' ? SMOKE_VAR : SMOKE_VQVAE), ...given }, signal), options);
    await runTraining(ctx, family.prepare(given, signal), options, process.argv.slice(2).join(' '));
  });
}

export function trainCommand(signal: AbortSignal): Command {
  const command = new Command('train').description('Train a model, resumable at any moment.');
  for (const family of FAMILIES) command.addCommand(familyCommand(family, signal).exitOverride().showSuggestionAfterError());
  return command;
}
