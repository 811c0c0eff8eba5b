// Parts of a dataset.
import { checkInt, checkNumber } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { ImageDataset } from './dataset.js';
import { randperm } from './torch-random.js';

/** The images at `places`, in that order, with the classes of the whole. Closing it leaves the whole open. */
export function subset(dataset: ImageDataset, places: readonly number[]): ImageDataset {
  for (const place of places) checkInt('place', place, 0, dataset.length - 1);
  const labels = Int32Array.from(places, (place) => dataset.labels[place]!);
  return {
    layout: dataset.layout,
    path: dataset.path,
    length: places.length,
    numClasses: dataset.numClasses,
    classes: dataset.classes,
    labels,
    ignored: dataset.ignored,
    name: (i) => dataset.name(places[i]!),
    read: (i) => dataset.read(places[i]!),
    close: async () => undefined,
  };
}

/**
 * Divides a dataset that has no validation part: `share` of it (at least one image), chosen by the seed, is kept back for validation.
 * Both parts keep the order of the whole.
 */
export function holdOut(dataset: ImageDataset, share: number, seed = 0): { train: ImageDataset; val: ImageDataset } {
  checkNumber('share', share, 0, 0.9);
  checkInt('seed', seed, 0);
  if (dataset.length < 2) throw new ArgumentError(`${dataset.path} has one image: there is nothing to keep back for validation`);
  const kept = new Set(randperm(dataset.length, seed).slice(0, Math.max(1, Math.round(share * dataset.length))));
  const places = Array.from({ length: dataset.length }, (_, i) => i);
  return {
    train: subset(
      dataset,
      places.filter((i) => !kept.has(i)),
    ),
    val: subset(
      dataset,
      places.filter((i) => kept.has(i)),
    ),
  };
}
