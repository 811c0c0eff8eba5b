import type { BatchSource, ImageBatch } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import { type VqvaeConfig, vqvaeConfig } from '../models/vqvae/index.js';
import { closeAll, graphOf, loopConfig, makeOptimizer, openImages, precisionOf, type RunParts } from './build.js';
import { VQVAE_CHANGEABLE, type VqvaeArgs } from './config/vqvae.js';
import { VqvaeTask, type VqvaeTrainOptions } from './vqvae/index.js';
import { openWeightsFile } from './weights.js';

export interface BuildOptions {
  /** Synthetic images instead of the data. */
  synthetic?: boolean;
  signal?: AbortSignal;
}

export function vqvaeModelOf(args: VqvaeArgs): VqvaeConfig {
  return vqvaeConfig({
    vocabSize: args.V,
    zChannels: args.Cvae,
    ch: args.ch,
    chMult: args.ch_mults,
    numResBlocks: args.num_res_blocks,
    normGroups: args.groups,
    patchNums: args.patch_nums,
    quantConvKs: args.quant_conv_ks,
    quantResi: args.qresi,
    shareQuantResi: args.share_qresi,
    usingZnorm: args.znorm,
    beta: args.beta,
  });
}

function taskOptions(args: VqvaeArgs, config: VqvaeConfig): VqvaeTrainOptions {
  const { recon, vq_weight: vqWeight, entropy: entropyWeight, quantize_from: quantizeFrom, eini, seed, winograd } = args;
  return {
    config,
    seed,
    recon: { l1: recon === 'l2' ? 0 : 1, l2: recon === 'l1' ? 0 : 1 },
    vqWeight,
    entropyWeight,
    quantizeFrom,
    eini,
    phiIdentity: args.phi_identity,
    checkpointing: args.ckpt_blocks,
    precision: precisionOf(args),
    winograd,
    kmeans: args.kmeans && args.from === '' ? { batches: args.kmeans_batches, iterations: args.kmeans_it } : false,
    restart: args.restart > 0 ? { after: args.restart, below: args.restart_below } : false,
  };
}

/** Task, optimizer and data of a VQVAE run. */
export async function buildVqvae(engine: Engine, args: VqvaeArgs, { synthetic, signal }: BuildOptions = {}): Promise<RunParts<ImageBatch>> {
  const config = vqvaeModelOf(args);
  const data = await openImages(args, { reso: args.data_load_reso, synthetic, signal });
  const opened = args.from === '' ? undefined : await openWeightsFile(args.from, 'vqvae');
  try {
    const task = await VqvaeTask.create(engine, taskOptions(args, config), opened?.weights);
    const optimizer = makeOptimizer(task.params, args);
    task.onCodesReplaced = (name, rows) => optimizer.clearRows(name, rows);
    const batches = data.batches as BatchSource<ImageBatch>;
    const validation = data.validation as BatchSource<ImageBatch> | undefined;
    const close = () => closeAll([() => optimizer.dispose(), () => task.dispose(), () => batches.close(), () => validation?.close()]);
    const notes = [...data.notes, ...(opened ? [`weights: ${args.from}`] : [])];
    return {
      family: 'vqvae',
      task,
      optimizer,
      batches,
      validation,
      config: loopConfig(args),
      graph: graphOf(args, engine),
      mayChange: VQVAE_CHANGEABLE,
      model: config,
      notes,
      stateKey: 'vae_local',
      close,
    };
  } catch (error) {
    await data.batches.close();
    await data.validation?.close();
    throw error;
  } finally {
    await engine.flush();
    opened?.checkpoint.close();
  }
}
