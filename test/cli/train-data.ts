// A tiny dataset of synthetic pictures, and the options of models that train on it in seconds.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodePng, syntheticImage } from '../../ts/data/index.js';

export const RESO = 16;

/** train/<class>/*.png and val/<class>/*.png. */
export async function dataset(dir: string, classes: number, perClass: number, perVal: number): Promise<string> {
  for (const [split, count, first] of [
    ['train', perClass, 0],
    ['val', perVal, 1000],
  ] as const)
    for (let c = 0; c < classes; c++) {
      const folder = join(dir, split, `kind-${c}`);
      mkdirSync(folder, { recursive: true });
      for (let i = 0; i < count; i++) {
        const pixels = syntheticImage(20, c, 1, first + i);
        writeFileSync(join(folder, `${String(i).padStart(3, '0')}.png`), await encodePng(pixels, 20, 20));
      }
    }
  return dir;
}

export const VAE_OPTIONS = ['--ch', '32', '--ch-mult', '1_1_2', '--num_res_blocks', '1', '--pn', '1_2_4', '--V', '32', '--Cvae', '8'];
export const VAR_OPTIONS = ['--depth', '2', '--width', '64'];
