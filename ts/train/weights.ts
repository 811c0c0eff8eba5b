// Weight files as training reads and writes them: models with what their shapes do not tell in the metadata.
import { type Checkpoint, openCheckpoint, type TensorSource, writePth, writeSafetensors } from '../checkpoint/index.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';
import type { Engine } from '../engine/index.js';
import { CLASSES_KEY, CONFIG_KEY } from '../models/config.js';
import { inferVarConfig, type VarConfig, varConfig } from '../models/var/index.js';
import { inferVqvaeConfig, type VqvaeConfig } from '../models/vqvae/index.js';
import type { WeightSource } from '../nn/index.js';

export type Family = 'vqvae' | 'var';

const ROOTS: Readonly<Record<Family, { probe: string; roots: readonly string[]; option: string }>> = {
  vqvae: { probe: 'quantize.embedding.weight', roots: ['trainer.vae_local', 'vae_local'], option: '--vae' },
  var: { probe: 'class_emb.weight', roots: ['trainer.var_wo_ddp', 'var_wo_ddp'], option: '--from' },
};

export interface OpenedFile {
  readonly checkpoint: Checkpoint;
  readonly weights: WeightSource;
  /** What the file says of its model beyond shapes. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly classes: readonly string[] | undefined;
}

/** Opens weights of a family: an export, a state dict of PyTorch, or a checkpoint of a run. The caller closes the checkpoint. */
export async function openWeightsFile(path: string, family: Family): Promise<OpenedFile> {
  const { probe, roots, option } = ROOTS[family];
  const checkpoint = await openCheckpoint(path);
  const views = [
    checkpoint,
    ...[...roots, ...checkpoint.roots].filter((root) => checkpoint.roots.includes(root)).map((root) => checkpoint.at(root)),
  ];
  const weights = views.find((view) => view.has(probe));
  if (!weights) {
    checkpoint.close();
    throw new CheckpointError(`${option}: ${path} holds no ${family === 'var' ? 'VAR' : 'VQVAE'}, it has no ${probe}`, {
      file: path,
      key: probe,
    });
  }
  return { checkpoint, weights, ...told(checkpoint, family) };
}

/** From the metadata of an export, or from the arguments in a checkpoint of a run of this family. */
function told(checkpoint: Checkpoint, family: Family): Pick<OpenedFile, 'config' | 'classes'> {
  const { metadata } = checkpoint;
  if (checkpoint.format === 'safetensors')
    return { config: parsed(metadata[CONFIG_KEY]) ?? {}, classes: parsed(metadata[CLASSES_KEY]) as unknown as string[] | undefined };
  const plain = checkpoint.plain() as {
    nextscale?: { family?: string; config?: Record<string, unknown>; data?: { classes?: string[] } };
  } | null;
  const own = plain?.nextscale;
  return { config: (own?.family === family && own.config) || {}, classes: own?.data?.classes };
}

function parsed(text: string | undefined): Record<string, unknown> | undefined {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

/** Configuration of a VQVAE: `given` first, then what the file says, then what its shapes tell. */
export function vqvaeConfigOf({ weights, config }: OpenedFile, given: Partial<VqvaeConfig> = {}): VqvaeConfig {
  const names = ['patchNums', 'normGroups', 'quantResi', 'usingZnorm', 'beta'] as const;
  const known = Object.fromEntries(names.filter((name) => config[name] !== undefined).map((name) => [name, config[name]]));
  return inferVqvaeConfig(weights, { ...known, ...given });
}

export interface ExportOptions {
  config: Record<string, unknown>;
  classes?: readonly string[];
  /** Further entries of the metadata. */
  metadata?: Record<string, string>;
  signal?: AbortSignal;
}

/** Writes a state dict as .safetensors, or as .pth that torch.load opens. */
export async function exportWeights(path: string, state: ReadonlyMap<unknown, unknown>, options: ExportOptions): Promise<void> {
  const { config, classes, metadata = {}, signal } = options;
  const tensors = new Map([...state].map(([name, tensor]) => [String(name), tensor as TensorSource]));
  if (path.endsWith('.pth')) return await writePth(path, tensors, { signal });
  if (!path.endsWith('.safetensors')) throw new ArgumentError(`${path}: expected a name that ends in .safetensors or .pth`);
  const text = {
    format: 'pt',
    ...metadata,
    [CONFIG_KEY]: JSON.stringify(config),
    ...(classes ? { [CLASSES_KEY]: JSON.stringify(classes) } : {}),
  };
  await writeSafetensors(path, tensors, text, { signal });
}

/** Configuration of a VAR: what the file says, else what its shapes and its VQVAE tell. */
export async function varConfigOf(engine: Engine, { weights, config }: OpenedFile, vqvae: VqvaeConfig): Promise<VarConfig> {
  if (config.embedDim !== undefined) return varConfig(config as Partial<VarConfig>);
  return await inferVarConfig(weights, {}, vqvae, async () => {
    if (!weights.has('lvl_1L')) return null;
    const tensor = await weights.load(engine, 'lvl_1L', { dtype: 'i32' });
    const counts: number[] = [];
    for (const level of await tensor.read().finally(() => tensor.dispose())) {
      if (level < 0 || level > 1024) return null;
      counts[level] = (counts[level] ?? 0) + 1;
    }
    return Array.from(counts, (n) => n ?? 0);
  });
}
