import { openCheckpoint } from '../../ts/checkpoint/index.js';
import { exportWeights, openWeightsFile } from '../../ts/train/weights.js';

/** Weights out of a checkpoint of a run, with configuration and classes in the metadata. Returns `path`. */
export async function exportCheckpoint(from: string, family: 'vqvae' | 'var', path: string): Promise<string> {
  const root = family === 'vqvae' ? 'trainer.vae_local' : 'trainer.var_wo_ddp';
  const about = await openWeightsFile(from, family);
  const checkpoint = await openCheckpoint(from, { root });
  try {
    const state = new Map([...checkpoint.keys()].map((key) => [key, checkpoint.source(key)]));
    await exportWeights(path, state, { config: { ...about.config }, ...(about.classes ? { classes: about.classes } : {}) });
    return path;
  } finally {
    checkpoint.close();
    about.checkpoint.close();
  }
}
