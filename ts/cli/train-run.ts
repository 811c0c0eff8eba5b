// One run, from checked options to exported weights, for `train` and `finetune`.
import { totalmem } from 'node:os';
import { join } from 'node:path';
import type { Batch } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import type { VarConfig } from '../models/var/index.js';
import type { VqvaeConfig } from '../models/vqvae/index.js';
import { precisionOf, type RunParts } from '../train/build.js';
import { buildVar, type VarBuildOptions } from '../train/build-var.js';
import { buildVqvae } from '../train/build-vqvae.js';
import type { VarArgs } from '../train/config/var.js';
import type { VqvaeArgs } from '../train/config/vqvae.js';
import { type Arithmetic, type Cost, stateBytes, varCost, vqvaeCost } from '../train/cost.js';
import { type TrainResult, train } from '../train/index.js';
import { exportWeights } from '../train/weights.js';
import { bytes, type CommonOptions, type Context, duration } from './context.js';
import { type DeviceOptions, openDevice } from './device.js';
import { TrainDisplay } from './train-display.js';

export interface RunOptions extends CommonOptions {
  config?: string;
  resume?: string;
  threads?: number;
  device: 'cpu' | 'cuda';
  smoke?: boolean;
}

export type Family = 'vqvae' | 'var';

export interface Prepared {
  readonly family: Family;
  readonly args: VarArgs | VqvaeArgs;
  readonly build: (engine: Engine, synthetic: boolean) => Promise<RunParts>;
  readonly cost: (parts: RunParts) => Cost;
}

export function prepareVqvae(args: VqvaeArgs, signal: AbortSignal): Prepared {
  const state = (parts: RunParts) => stateBytes(parts.optimizer.parameters, stateOptions(args));
  return {
    family: 'vqvae',
    args,
    build: async (engine, synthetic) => (await buildVqvae(engine, args, { synthetic, signal })) as unknown as RunParts,
    cost: (parts) => vqvaeCost(parts.model as VqvaeConfig, args.batch_size, state(parts), arithmetic(args)),
  };
}

export function prepareVar(args: VarArgs, signal: AbortSignal, start?: VarBuildOptions['start']): Prepared {
  return {
    family: 'var',
    args,
    build: async (engine, synthetic) => await buildVar(engine, args, { synthetic, signal, ...(start ? { start } : {}) }),
    cost: (parts) => {
      const state = stateBytes(parts.optimizer.parameters, stateOptions(args));
      return varCost(parts.model as VarConfig, args.batch_size, state, { encoder: parts.encoder, ...arithmetic(args) });
    },
  };
}

const stateOptions = (args: VarArgs | VqvaeArgs) => ({
  bits: args.opt_bits,
  opt: args.opt,
  ema: args.ema > 0,
});

const arithmetic = (args: VarArgs | VqvaeArgs): Arithmetic => ({ precision: precisionOf(args), recompute: args.ckpt_blocks });

export function openEngine({ device, threads }: DeviceOptions, tf32 = false): Promise<Engine> {
  // A step frees all its activations and takes them again: memory given back in between would be cleared page by page.
  const maxCachedBytes = Math.floor(totalmem() / 2);
  return openDevice({ device, threads, tf32 }, { maxCachedBytes });
}

/** --tf32 is on unless said, as in the reference; a CPU has none. */
export const usesTf32 = ({ device }: DeviceOptions, { tf32 }: VarArgs | VqvaeArgs): boolean => device === 'cuda' && tf32;

/** What will happen, before it does. */
function summary(parts: RunParts, prepared: Prepared, engine: Engine): string {
  const { args } = prepared;
  const { config, batches, optimizer, notes } = parts;
  const steps = Math.floor((config.ep * batches.iters) / config.ac);
  const { flopsPerIt, stateBytes: state, activationBytes } = prepared.cost(parts);
  const numbers = { f32: 'f32', f16: 'f16 with a scaled loss', bf16: 'bf16' }[precisionOf(args)];
  const device = `${engine.device}, ${engine.describe().threads} threads`;
  return [
    ...notes,
    `[INIT][#para] ${prepared.family === 'var' ? 'VAR' : 'VAE'}=${(optimizer.parameters / 1e6).toFixed(2)}M  (values, gradients, moments: ${bytes(state)}; activations, ${numbers}: about ${bytes(activationBytes)})`,
    `global bs=${args.glb_batch_size}, ac=${config.ac}, tlr=${config.tlr}, wd=${config.twd}..${config.twde}, sche=${config.sche}, wp=${config.wp} ep, tclip=${config.tclip}`,
    `${config.ep} epochs x ${batches.iters} iterations, ${steps} steps of ${((flopsPerIt * config.ac) / 1e9).toFixed(1)} GFLOP on ${device}`,
  ].join('\n');
}

/** Trains to the end or to the signal; writes the final weights beside the checkpoints. */
export async function runTraining(ctx: Context, prepared: Prepared, options: RunOptions, command: string): Promise<TrainResult> {
  const { args } = prepared;
  const engine = await openEngine(options, usesTf32(options, args));
  try {
    const parts = await prepared.build(engine, false);
    try {
      ctx.note(summary(parts, prepared, engine));
      const result = await runParts(ctx, parts, prepared, engine, options, command);
      const exported = result.status === 'finished' ? await exportFinal(parts, args.local_out_dir_path, ctx.signal) : undefined;
      report(ctx, result, exported);
      return result;
    } finally {
      await parts.close();
    }
  } finally {
    await engine.close();
  }
}

async function runParts(
  ctx: Context,
  parts: RunParts,
  prepared: Prepared,
  engine: Engine,
  options: RunOptions,
  command: string,
): Promise<TrainResult> {
  const { config, graph, batches, task, optimizer, validation, model, mayChange } = parts;
  const { args } = prepared;
  const expected = {
    maxIt: config.ep * batches.iters,
    flopsPerIt: prepared.cost(parts).flopsPerIt,
    peakBytes: () => engine.memory().peakBytes,
  };
  const display = new TrainDisplay(ctx, config.ep, batches.iters, expected);
  try {
    return await train<Batch>({
      task,
      optimizer,
      batches,
      ...(validation ? { validation } : {}),
      config,
      graph,
      args: { ...args },
      model,
      mayChange,
      out: args.local_out_dir_path,
      resume: options.resume ?? 'auto',
      signal: ctx.signal,
      onEvent: display.show,
      head: { name: args.exp_name, cmd: command, tb_log_dir_path: args.local_out_dir_path },
    });
  } finally {
    display.stop();
  }
}

/** The trained weights, and their average where one was kept, as files that the other commands take. */
async function exportFinal(parts: RunParts, out: string, signal: AbortSignal): Promise<string[]> {
  const { task, optimizer, batches, model, stateKey, family } = parts;
  const state = (await task.state())[stateKey] as ReadonlyMap<unknown, unknown>;
  const name = family === 'var' ? 'var' : 'vae';
  const options = { config: model, ...(family === 'var' ? { classes: batches.classes } : {}), signal };
  const files = [join(out, `${name}.safetensors`)];
  await exportWeights(files[0]!, state, options);
  if (optimizer.ema) {
    files.push(join(out, `${name}-ema.safetensors`));
    await exportWeights(files[1]!, optimizer.ema.state(), options);
  }
  return files;
}

function report(ctx: Context, result: TrainResult, exported: readonly string[] | undefined): void {
  const { status, ep, gIt, loss, evaluation, best, skipped, seconds, checkpoint } = result;
  const values = Object.entries(evaluation).map(([name, value]) => `${name} ${value.toFixed(4)}`);
  const lines = [
    status === 'finished'
      ? `finished: ${ep} epochs, ${gIt} iterations, ${duration(seconds)} of training, last loss ${loss.toFixed(4)}`
      : `stopped after ${gIt} iterations (epoch ${ep}); the same command goes on from ${checkpoint ?? 'the last checkpoint'}`,
    ...(values.length > 0 ? [`evaluation: ${values.join(', ')}${best === null ? '' : ` (best ${best.toFixed(4)})`}`] : []),
    ...(skipped > 0 ? [`${skipped} steps skipped`] : []),
    ...(exported ?? []).map((file) => `weights: ${file}`),
  ];
  ctx.result({ type: 'result', ...result, ...(exported ? { weights: exported } : {}) }, lines.join('\n'));
}
