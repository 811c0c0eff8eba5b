// Loads what a command computes with: an engine, a VQVAE and a VAR, from checkpoint files or with seeded random weights.
import type { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { Engine } from '../engine/index.js';
import { VAR, VQVAE } from '../sample/index.js';
import type { Context } from './context.js';
import { type DeviceOptions, deviceOptions, openDevice, type PrecisionOptions, precisionOption, WEIGHT_DTYPES } from './device.js';
import { integer, oneOf, patchNums } from './options.js';
import { modelSize, PRESETS } from './presets.js';

export interface ModelOptions extends DeviceOptions, PrecisionOptions {
  vae?: string;
  var?: string;
  init?: string;
  initSeed: number;
  /** Only where a VAR is loaded. */
  dtype?: (typeof WEIGHT_DTYPES)[number];
  patchNums?: number[];
}

/** Adds the options that say which models to take and how to run them. */
export function modelOptions(command: Command, which: 'both' | 'vae' = 'both'): Command {
  command.option('--vae <file>', 'checkpoint of the VQVAE (.pth or .safetensors)');
  if (which === 'both') {
    command
      .option('--var <file>', 'checkpoint of the VAR transformer')
      .option(
        '--dtype <dtype>',
        'storage of its linear weights: f32, f16, bf16 or, on the CPU, int8 (default: --precision)',
        oneOf('--dtype', WEIGHT_DTYPES),
      );
  }
  command
    .option('--init <preset>', `seeded random weights instead of files: ${PRESETS.join(', ')}`, oneOf('--init', PRESETS))
    .option('--init-seed <n>', 'seed of --init', integer('--init-seed', 0), 0)
    .option(
      '--patch-nums <list>',
      "side lengths of the token maps, as '1_2_3_4', when the checkpoint does not tell them",
      patchNums('--patch-nums'),
    );
  return deviceOptions(precisionOption(command));
}

/** Models and engine of one command; disposing it closes all of them. */
export class Models {
  constructor(
    readonly engine: Engine,
    readonly vqvae: VQVAE,
    readonly transformer: VAR | undefined,
    /** The weights are random: pictures will be noise. */
    readonly random: boolean,
  ) {}

  get var(): VAR {
    if (!this.transformer) throw new ArgumentError('--var: nothing was given, accepted: a checkpoint of a VAR transformer');
    return this.transformer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
  }
}

function need(option: string, value: string | undefined, what: string): string {
  if (value === undefined)
    throw new ArgumentError(`${option}: nothing was given, accepted: a checkpoint of ${what}, or --init PRESET for random weights`);
  return value;
}

/** Opens an engine and loads the models; the engine is closed again when loading fails. */
export async function loadModels(ctx: Context, options: ModelOptions, which: 'both' | 'vae' = 'both'): Promise<Models> {
  const files = [options.vae, options.var].filter((f) => f !== undefined);
  if (options.init !== undefined && files.length)
    throw new ArgumentError(`--init: cannot be combined with --vae or --var (given: ${files.join(', ')})`);
  if (options.init !== undefined && options.patchNums)
    throw new ArgumentError(`--patch-nums: cannot be combined with --init, the preset ${options.init} has its own`);
  if (options.init === undefined) {
    need('--vae', options.vae, 'a VQVAE');
    if (which === 'both') need('--var', options.var, 'a VAR transformer');
  }
  const engine = await openDevice(options);
  try {
    return options.init === undefined ? await fromFiles(ctx, engine, options, which) : await fromSeed(ctx, engine, options, which);
  } catch (e) {
    await engine.close();
    throw e;
  }
}

async function fromFiles(ctx: Context, engine: Engine, options: ModelOptions, which: 'both' | 'vae'): Promise<Models> {
  const { signal } = ctx;
  const { precision, dtype } = options;
  const config = options.patchNums ? { patchNums: options.patchNums } : {};
  const since = performance.now();
  const vqvae = await VQVAE.load(engine, options.vae!, { ...config, precision, signal });
  const transformer = which === 'both' ? await VAR.load(engine, options.var!, { vqvae, precision, dtype, signal }) : undefined;
  ctx.note(`loaded ${[options.vae, options.var].filter(Boolean).join(' and ')} in ${((performance.now() - since) / 1000).toFixed(1)} s`);
  return new Models(engine, vqvae, transformer, false);
}

async function fromSeed(ctx: Context, engine: Engine, options: ModelOptions, which: 'both' | 'vae'): Promise<Models> {
  const size = modelSize(options.init!);
  const { signal } = ctx;
  const { precision, dtype } = options;
  ctx.warn(`--init ${options.init}: the weights are random (seed ${options.initSeed}) and untrained, the pictures will be noise`);
  const vqvae = await VQVAE.init(engine, { ...size.vqvae, seed: options.initSeed, precision, signal });
  const transformer =
    which === 'both' ? await VAR.init(engine, { vqvae, config: size.var, seed: options.initSeed, precision, dtype, signal }) : undefined;
  return new Models(engine, vqvae, transformer, true);
}
