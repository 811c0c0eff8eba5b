import { throwIfAborted } from '../../core/check.js';
import { ArgumentError } from '../../core/errors.js';
import { type ImageBatch, makeGrid, type RawImage } from '../../data/index.js';
import type { Tensor } from '../../engine/index.js';
import { frozenGraph, quantizeTrain } from '../../models/vqvae/index.js';
import type { Metrics } from '../task.js';
import { imageErrors, psnrOf, vqvaeLoss } from './losses.js';
import type { VqvaeTask } from './task.js';
import { hitStats } from './usage.js';

/** Sums over the images of a set. */
interface Totals {
  images: number;
  psnr: number;
  readonly parts: Map<string, number>;
  readonly hits: Float64Array;
}

/** Losses and PSNR as means over all images, usage (percent) and perplexity of the codes over all scales. */
export async function evaluateVqvae(
  task: VqvaeTask,
  batches: AsyncIterable<ImageBatch>,
  first: (batch: ImageBatch) => void,
  signal?: AbortSignal,
): Promise<Metrics> {
  const { engine, params, model, settings } = task;
  const totals: Totals = { images: 0, psnr: 0, parts: new Map(), hits: new Float64Array(settings.config.vocabSize) };
  const work = engine.openScope({ signal });
  try {
    work.run(() => params.bind(engine, model));
    for await (const batch of batches) {
      throwIfAborted(signal);
      if (totals.images === 0) first(batch);
      const values = work.run(() => engine.scope(() => measure(task, batch)));
      await add(totals, values, batch.labels.length);
      for (const tensor of values.tensors) tensor.dispose();
    }
  } finally {
    model.dispose();
    work.close();
  }
  if (totals.images === 0) throw new ArgumentError('evaluate: the validation set is empty');
  const mean = [...totals.parts].map(([name, sum]) => [name, sum / totals.images] as const);
  const { usage, perplexity } = hitStats(totals.hits);
  return { ...Object.fromEntries(mean), psnr: totals.psnr / totals.images, usage, perplexity };
}

interface Measured {
  readonly names: readonly string[];
  /** Losses, errors per image, tokens. */
  readonly tensors: readonly [Tensor, Tensor, Tensor];
}

function measure(task: VqvaeTask, batch: ImageBatch): Measured {
  const { engine, model, settings } = task;
  const g = frozenGraph(engine);
  const x = task.images3(batch);
  const q = quantizeTrain(g, model.quantize, settings.config, model.encode(engine, x));
  const rec = model.decode(engine, q.fHat);
  const { loss, parts } = vqvaeLoss(g, settings, x, rec, q);
  const all = [...parts.values()].reduce((joined, part) => engine.ops.concat(joined, part, { axis: 0 }), loss);
  return { names: ['loss', ...parts.keys()], tensors: [all, imageErrors(engine, x, rec), q.tokens] };
}

async function add(totals: Totals, { names, tensors }: Measured, images: number): Promise<void> {
  const [values, errors, tokens] = await Promise.all(tensors.map((tensor) => tensor.read()));
  for (const [i, name] of names.entries()) totals.parts.set(name, (totals.parts.get(name) ?? 0) + Number(values![i]) * images);
  totals.psnr += psnrOf(errors as Float32Array) * images;
  for (const token of tokens as Int32Array) totals.hits[token]!++;
  totals.images += images;
}

/** Rows of pictures: the original, then its reconstruction after every scale. */
export async function reconstructionGrid(task: VqvaeTask, batch: ImageBatch, signal?: AbortSignal): Promise<RawImage> {
  const { engine, params, model, settings } = task;
  const work = engine.openScope({ signal });
  try {
    const columns = work.run(() => {
      params.bind(engine, model);
      const x = task.images3(batch);
      const q = quantizeTrain(frozenGraph(engine), model.quantize, settings.config, model.encode(engine, x), { everyScale: true });
      const maps = q.fHats.map((fHat) => model.fHatToImg(engine, fHat));
      return [x, ...maps].map((map) => engine.ops.unitToImage(map).read());
    });
    return layOut((await Promise.all(columns)) as Uint8Array[], batch.reso);
  } finally {
    model.dispose();
    work.close();
  }
}

function layOut(columns: readonly Uint8Array[], reso: number): RawImage {
  const size = reso * reso * 3;
  const rows = columns[0]!.length / size;
  const images: RawImage[] = [];
  for (let i = 0; i < rows; i++)
    for (const column of columns) images.push({ data: column.subarray(i * size, (i + 1) * size), width: reso, height: reso });
  return makeGrid(images, { columns: columns.length, padding: 1 });
}
