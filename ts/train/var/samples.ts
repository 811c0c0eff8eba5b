import { makeGrid, type RawImage } from '../../data/index.js';
import type { Engine } from '../../engine/index.js';
import { breathe, generateFhat, type VarModel } from '../../models/var/index.js';
import type { VqvaeModel } from '../../models/vqvae/index.js';
import { seedWords } from '../../nn/index.js';
import type { SampleOptions } from './options.js';

/** Images generated at once. */
const BATCH = 8;

/** Class ids to show: all, or `count` of them evenly spread. */
export function shownClasses(numClasses: number, count: number): number[] {
  const shown = Math.min(numClasses, count);
  return Array.from({ length: shown }, (_, i) => Math.floor((i * numClasses) / shown));
}

/** A grid of generated pictures, one class per row; picture i of a class has the same seed at every call. */
export async function sampleGrid(
  engine: Engine,
  model: VarModel,
  vqvae: VqvaeModel,
  options: SampleOptions & { readonly seed: number },
  signal?: AbortSignal,
): Promise<RawImage | null> {
  const { classes, perClass } = options;
  const labels = shownClasses(model.config.numClasses, classes).flatMap((label) => new Array<number>(perClass).fill(label));
  const images: RawImage[] = [];
  for (let from = 0; from < labels.length; from += BATCH)
    images.push(...(await generate(engine, model, vqvae, labels.slice(from, from + BATCH), from, options, signal)));
  return images.length === 0 ? null : makeGrid(images, { columns: perClass });
}

async function generate(
  engine: Engine,
  model: VarModel,
  vqvae: VqvaeModel,
  labels: readonly number[],
  first: number,
  options: SampleOptions & { readonly seed: number },
  signal?: AbortSignal,
): Promise<RawImage[]> {
  const n = labels.length;
  const [lo, hi] = seedWords(options.seed);
  using scope = engine.openScope({ signal });
  const batch = {
    labels: Int32Array.from(labels),
    seeds: Int32Array.from(labels.flatMap((_, i) => [lo, hi, first + i])),
    cfg: new Float32Array(n).fill(options.cfg),
    topK: new Int32Array(n).fill(options.topK),
    topP: new Float32Array(n).fill(options.topP),
    moreSmooth: false,
  };
  const fHat = scope.adopt(await generateFhat(engine, model, vqvae, batch, { scope, signal }));
  await breathe(engine, signal);
  const bytes = scope.run(() => engine.ops.unitToImage(vqvae.fHatToImg(engine, fHat)));
  const [, height, width] = bytes.shape as [number, number, number];
  const data = (await bytes.read({ signal })) as Uint8Array;
  const size = height * width * 3;
  return labels.map((_, i) => ({ width, height, data: data.slice(i * size, (i + 1) * size) }));
}
