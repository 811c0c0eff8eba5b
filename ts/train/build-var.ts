import { ArgumentError } from '../core/errors.js';
import type { Engine } from '../engine/index.js';
import type { VarConfig } from '../models/var/index.js';
import { type VqvaeConfig, VqvaeModel, vqvaeConfig } from '../models/vqvae/index.js';
import { InitSource, type WeightSource } from '../nn/index.js';
import { closeAll, type Data, graphOf, loopConfig, makeOptimizer, openImages, openTokens, precisionOf, type RunParts } from './build.js';
import type { BuildOptions } from './build-vqvae.js';
import { VAR_CHANGEABLE, type VarArgs } from './config/var.js';
import { VarTask, type VarTrainOptions } from './var/index.js';
import { type OpenedFile, openWeightsFile, vqvaeConfigOf } from './weights.js';

export interface VarBuildOptions extends BuildOptions {
  /** Weights to start from, and the fields of the configuration they decide (`finetune`). */
  start?: { weights: WeightSource; config: Partial<VarConfig> };
}

interface Tokenizer {
  readonly config: VqvaeConfig;
  readonly weights: WeightSource;
  readonly opened?: OpenedFile;
}

/** The VQVAE of --vae; synthetic runs without one get a small one with random weights. */
async function tokenizerOf(args: VarArgs, synthetic: boolean): Promise<Tokenizer> {
  const patchNums = args.patch_nums ?? undefined;
  if (args.vae !== '') {
    const opened = await openWeightsFile(args.vae, 'vqvae');
    try {
      return { config: vqvaeConfigOf(opened, patchNums && { patchNums }), weights: opened.weights, opened };
    } catch (error) {
      opened.checkpoint.close();
      throw error;
    }
  }
  if (!synthetic) throw new ArgumentError('--vae: nothing was given, accepted: a VQVAE (.safetensors, .pth), as train vqvae writes it');
  const config = vqvaeConfig({ ch: 32, chMult: [1, 1, 2], zChannels: 16, vocabSize: 64, patchNums: patchNums ?? [1, 2, 3, 4] });
  return { config, weights: new InitSource(new VqvaeModel(config).parameters(), args.seed) };
}

function checkPatchSize(args: VarArgs, config: VqvaeConfig): number {
  const downsample = 2 ** (config.chMult.length - 1);
  if (args.patch_size !== 0 && args.patch_size !== downsample)
    throw new ArgumentError(`--patch_size: got '${args.patch_size}', accepted: ${downsample}, which is the VQVAE's`);
  return downsample * config.patchNums.at(-1)!;
}

/** Fields of the model that the options decide. */
export function varModelOf(args: VarArgs, numClasses: number): Partial<VarConfig> {
  const { depth, width, heads, saln: sharedAln, anorm: attnL2Norm, cond_drop: condDropRate } = args;
  const embedDim = width || 64 * depth;
  return { depth, embedDim, numHeads: heads || Math.max(1, Math.round(embedDim / 64)), numClasses, sharedAln, attnL2Norm, condDropRate };
}

function taskOptions(args: VarArgs, config: Partial<VarConfig>): VarTrainOptions {
  const { seed, ls: labelSmooth, pg, pg0, pgwp, wp, drop_path, ckpt_blocks: checkpointing } = args;
  const { ini: initStd, hd: initHead, aln: initAdaln, alng: initAdalnGamma } = args;
  return {
    config,
    seed,
    labelSmooth,
    checkpointing,
    precision: precisionOf(args),
    progressive: pg > 0 ? { pg, pg0, pgwp, wp } : {},
    ...(drop_path >= 0 ? { dropPathRate: drop_path } : {}),
    init: { initStd, initHead, initAdaln, initAdalnGamma },
    samples: { cfg: args.sample_cfg, topK: args.sample_top_k, topP: args.sample_top_p },
  };
}

async function openData(args: VarArgs, tokenizer: Tokenizer, reso: number, options: VarBuildOptions): Promise<Data> {
  const { patchNums, vocabSize } = tokenizer.config;
  if (args.tokens !== '') return await openTokens(args, { vae: args.vae, patchNums, vocabSize, reso });
  return await openImages(args, { reso, synthetic: options.synthetic, signal: options.signal });
}

/** Task, optimizer and data of a VAR run. Throws ArgumentError, CheckpointError, DatasetError. */
export async function buildVar(engine: Engine, args: VarArgs, options: VarBuildOptions = {}): Promise<RunParts> {
  const tokenizer = await tokenizerOf(args, options.synthetic === true);
  let data: Data | undefined;
  let opened: OpenedFile | undefined;
  try {
    const reso = checkPatchSize(args, tokenizer.config);
    data = await openData(args, tokenizer, reso, options);
    const { batches, validation, notes } = data;
    if (args.from !== '' && !options.start) opened = await openWeightsFile(args.from, 'var');
    const config = { ...varModelOf(args, batches.numClasses), ...options.start?.config };
    const source = options.start?.weights ?? opened?.weights;
    const task = await VarTask.create(engine, tokenizer, taskOptions(args, config), source);
    const optimizer = makeOptimizer(task.params, args);
    const close = () => closeAll([() => optimizer.dispose(), () => task.dispose(), () => batches.close(), () => validation?.close()]);
    const about = `VQVAE: ${args.vae || 'random weights'}, pn ${tokenizer.config.patchNums.join('_')}, V ${tokenizer.config.vocabSize}, ${reso} px`;
    const model = { ...task.settings.config };
    return {
      ...{
        family: 'var',
        task,
        optimizer,
        batches,
        validation,
        config: loopConfig(args),
        graph: graphOf(args, engine),
        mayChange: VAR_CHANGEABLE,
        model,
        stateKey: 'var_wo_ddp',
        close,
      },
      ...(args.tokens === '' ? { encoder: tokenizer.config } : {}),
      notes: [about, ...notes, ...(opened ? [`weights: ${args.from}`] : [])],
    };
  } catch (error) {
    await data?.batches.close();
    await data?.validation?.close();
    throw error;
  } finally {
    await engine.flush();
    tokenizer.opened?.checkpoint.close();
    opened?.checkpoint.close();
  }
}
