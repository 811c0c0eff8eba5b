// The model that comes with the package, and the photos beside it.
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError, DatasetError } from '../core/errors.js';
import type { RawImage } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import type { VarConfig } from '../models/var/index.js';
import { VAR, VQVAE } from '../sample/index.js';
import { type OpenedFile, openWeightsFile, vqvaeConfigOf } from '../train/weights.js';
import type { Precision } from './device.js';
import { loadPicture } from './images.js';

/** The same from ts/ and from dist/. */
export const BUNDLED = fileURLToPath(new URL('../../models/clothing64', import.meta.url));
/** Folder of vae.safetensors and var.safetensors. */
export const DEMO_MODEL = process.env.NEXTSCALE_DEMO_MODEL || BUNDLED;
const PHOTOS = join(BUNDLED, 'photos');
const CURE =
  'take it from the repository again (git checkout -- models), or set NEXTSCALE_DEMO_MODEL to a folder of vae.safetensors and var.safetensors';

/** The models as they generate, and the files as training starts from them. */
export interface DemoModel {
  readonly vqvae: VQVAE;
  readonly transformer: VAR;
  /** Names of the classes; the label is the place. */
  readonly classes: readonly string[];
  readonly vaeFile: OpenedFile;
  readonly varFile: OpenedFile;
  close(): void;
}

async function open(name: string, family: 'vqvae' | 'var'): Promise<OpenedFile> {
  const path = join(DEMO_MODEL, name);
  if (!existsSync(path)) throw new CheckpointError(`${path}: this part of the demo's model is missing: ${CURE}`, { file: path });
  return await openWeightsFile(path, family);
}

/** Loads the bundled VQVAE and VAR. Throws CheckpointError that names the cure. */
export async function loadDemoModel(engine: Engine, precision: Precision, signal: AbortSignal): Promise<DemoModel> {
  const vaeFile = await open('vae.safetensors', 'vqvae');
  let varFile: OpenedFile | undefined;
  const close = () => {
    vaeFile.checkpoint.close();
    varFile?.checkpoint.close();
  };
  try {
    varFile = await open('var.safetensors', 'var');
    const vqvae = await VQVAE.load(engine, vaeFile.checkpoint, { ...vqvaeConfigOf(vaeFile), precision, signal });
    const config = varFile.config as Partial<VarConfig>;
    const transformer = await VAR.load(engine, varFile.checkpoint, { vqvae, config, precision, signal });
    const count = transformer.model.config.numClasses;
    const classes = varFile.classes ?? Array.from({ length: count }, (_, i) => `class ${i}`);
    return { vqvae, transformer, classes, vaeFile, varFile, close };
  } catch (error) {
    close();
    throw error;
  }
}

export interface Photo {
  /** Name of its class. */
  readonly name: string;
  readonly label: number;
  readonly image: RawImage;
}

/** The bundled photos, the first of every class, then the second of every class. Photos of classes the model does not know are left out. */
export async function bundledPhotos(engine: Engine, classes: readonly string[], side: number): Promise<Photo[]> {
  const lists = await Promise.all(
    classes.map(async (name) => (await readdir(join(PHOTOS, name)).catch(() => [])).filter((file) => file.endsWith('.jpg')).sort()),
  );
  const photos: Photo[] = [];
  for (let i = 0; lists.some((files) => i < files.length); i++)
    for (const [label, files] of lists.entries()) {
      const [name, file] = [classes[label]!, files[i]];
      if (file !== undefined) photos.push({ name, label, image: await loadPicture(engine, join(PHOTOS, name, file), side) });
    }
  if (photos.length === 0) throw new DatasetError(`${PHOTOS}: no photo of a class of ${DEMO_MODEL}: ${CURE}`, { file: PHOTOS });
  return photos;
}
