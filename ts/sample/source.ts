import { Checkpoint, openCheckpoint } from '../checkpoint/index.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';
import type { WeightSource } from '../nn/index.js';

/** Path of a .safetensors or .pth file, an opened checkpoint, or anything that hands out named tensors. */
export type WeightInput = string | WeightSource;

export interface OpenedWeights {
  readonly source: WeightSource;
  /** Opened here, to be closed by the model. */
  readonly owned: Checkpoint | null;
}

interface Family {
  readonly name: 'VQVAE' | 'VAR';
  /** Its option on the command line. */
  readonly option: string;
  /** A key that every state dict of the family has. */
  readonly probe: string;
  readonly roots: readonly string[];
}

export const VQVAE_FAMILY: Family = {
  name: 'VQVAE',
  option: '--vae',
  probe: 'quantize.embedding.weight',
  roots: ['trainer.vae_local', 'vae_local'],
};
export const VAR_FAMILY: Family = { name: 'VAR', option: '--var', probe: 'class_emb.weight', roots: ['trainer.var_wo_ddp', 'var_wo_ddp'] };

/** Opens a file, or takes an opened one, at the place where the family's state dict lies. */
export async function openWeights(input: WeightInput, family: Family): Promise<OpenedWeights> {
  if (typeof input === 'string') {
    const owned = await openCheckpoint(input);
    try {
      return { source: locate(owned, family), owned };
    } catch (error) {
      owned.close();
      throw error;
    }
  }
  if (typeof input !== 'object' || input === null || typeof input.load !== 'function')
    throw new ArgumentError(
      `${family.name}.load: a path or an opened checkpoint is expected, given ${input === null ? 'null' : typeof input}`,
    );
  return { source: locate(input, family), owned: null };
}

function locate(source: WeightSource, family: Family): WeightSource {
  if (source.has(family.probe)) return source;
  if (source instanceof Checkpoint) {
    for (const root of [...family.roots, ...source.roots]) {
      const view = source.roots.includes(root) || source.root === '' ? tryRoot(source, root) : null;
      if (view?.has(family.probe)) return view;
    }
  }
  const other = family.name === 'VAR' ? VQVAE_FAMILY : VAR_FAMILY;
  const hint = source.has(other.probe) ? `; it is a ${other.name} (for ${other.name}.load, or ${other.option})` : '';
  throw new CheckpointError(`${source.path}: no ${family.name} state dict, it has no ${family.probe}${hint}`, {
    file: source.path,
    key: family.probe,
  });
}

function tryRoot(source: Checkpoint, root: string): WeightSource | null {
  try {
    return source.at(root);
  } catch (error) {
    if (error instanceof CheckpointError) return null;
    throw error;
  }
}
