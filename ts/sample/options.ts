import { randomInt } from 'node:crypto';
import { checkArray, checkBoolean, checkInt, checkNumber, checkOptions, refuse } from '../core/check.js';
import { Philox } from '../core/philox.js';
import type { VarConfig } from '../models/var/index.js';
import { seedWords } from '../nn/index.js';

/** Settings of one image inside a batch; what is absent comes from the request. */
export interface ImageOptions {
  cfg?: number;
  topK?: number;
  topP?: number;
  /** The image's own seed: the same image as a request of one with this seed. */
  seed?: number;
}

export interface GenerateOptions {
  /**
   * Classes, 0 to numClasses - 1, or -1 for the unconditional class: a list for a batch, one number for `count` images of one class.
   * Absent: `count` classes drawn at random from the seed.
   */
  labels?: number | readonly number[];
  /** Number of images where `labels` is no list; default 1. */
  count?: number;
  /**
   * 0 to 2^53 - 1; default: drawn at random. One seed: image i uses the random stream (seed, i). A list: image i uses (seed[i], 0), so
   * that it equals a request of one image with that seed.
   */
  seed?: number | readonly number[];
  /** Classifier-free guidance at the last scale, rising linearly from 0 at the first; 0 to 100, default 4. */
  cfg?: number | readonly number[];
  /** Tokens are drawn from the k most likely codewords; 0 to vocabSize, 0: all, default 900 (or vocabSize). */
  topK?: number | readonly number[];
  /** Tokens are drawn from the smallest set of codewords of this probability; 0 to 1, 0: all, default 0.95. */
  topP?: number | readonly number[];
  /** Mix codewords by a Gumbel softmax: smoother images, for looking at, not for measuring. */
  moreSmooth?: boolean;
  /** One entry per image, over the values above. */
  perImage?: readonly ImageOptions[];
}

/** A checked request, one entry per image. */
export interface CheckedRequest {
  /** -1 is replaced by numClasses. */
  readonly labels: Int32Array;
  readonly seeds: Int32Array;
  readonly cfg: Float32Array;
  readonly topK: Int32Array;
  readonly topP: Float32Array;
  readonly moreSmooth: boolean;
  /** What to give as `seed` to get the same images again. */
  readonly seed: number | readonly number[];
}

const MAX_IMAGES = 4096;
const MAX_SEED = Number.MAX_SAFE_INTEGER;
const KNOWN: readonly (keyof ImageOptions)[] = ['cfg', 'topK', 'topP', 'seed'];

/** Checks every option; throws ArgumentError naming the option, what was given and what is accepted. */
export function checkRequest(options: GenerateOptions, config: VarConfig): CheckedRequest {
  const { labels: given } = options;
  const count = Array.isArray(given)
    ? checkArray('labels', given, 1, MAX_IMAGES).length
    : checkInt('count', options.count ?? 1, 1, MAX_IMAGES);
  if (Array.isArray(given) && options.count !== undefined && options.count !== count)
    refuse('count', options.count, `${count}, the number of labels, or nothing`);
  if (options.perImage !== undefined) checkArray('perImage', options.perImage, count, count);
  const perImage = options.perImage ?? [];
  for (const [i, entry] of perImage.entries()) checkOptions(`perImage[${i}]`, entry, KNOWN);
  const values = (name: 'cfg' | 'topK' | 'topP', fallback: number, check: (name: string, value: unknown) => number) => {
    const list = options[name];
    const many = Array.isArray(list) ? checkArray<number>(name, list, count, count) : null;
    return Array.from({ length: count }, (_, i) => {
      const own = perImage[i]?.[name];
      if (own !== undefined) return check(`perImage[${i}].${name}`, own);
      return many ? check(`${name}[${i}]`, many[i]) : check(name, list ?? fallback);
    });
  };
  const { seed, keys } = keysOf(options, count, perImage);
  return {
    labels: labelsOf(given, config.numClasses, keys),
    seeds: Int32Array.from(keys.flatMap(({ seed, index }) => [...seedWords(seed), index])),
    seed,
    cfg: Float32Array.from(values('cfg', 4, (name, v) => checkNumber(name, v, 0, 100))),
    topK: Int32Array.from(values('topK', Math.min(900, config.vocabSize), (name, v) => checkInt(name, v, 0, config.vocabSize))),
    topP: Float32Array.from(values('topP', 0.95, (name, v) => checkNumber(name, v, 0, 1))),
    moreSmooth: checkBoolean('moreSmooth', options.moreSmooth ?? false),
  };
}

interface ImageKey {
  readonly seed: number;
  readonly index: number;
}

/** The seed to be reported, and the key of every image. */
function keysOf(
  options: GenerateOptions,
  count: number,
  perImage: readonly ImageOptions[],
): { seed: number | readonly number[]; keys: ImageKey[] } {
  const given = options.seed ?? randomInt(2 ** 32);
  const list = Array.isArray(given) ? checkArray<number>('seed', given, count, count) : null;
  const keys = Array.from({ length: count }, (_, i) => {
    const own = perImage[i]?.seed;
    const name = own !== undefined ? `perImage[${i}].seed` : list ? `seed[${i}]` : 'seed';
    const seed = checkInt(name, own ?? (list ? list[i] : given), 0, MAX_SEED);
    return { seed, index: own === undefined && !list ? i : 0 };
  });
  return { seed: given, keys };
}

function labelsOf(given: GenerateOptions['labels'], numClasses: number, keys: readonly ImageKey[]): Int32Array {
  if (given === undefined) return Int32Array.from(keys, ({ seed, index }) => new Philox(seed, index).below(numClasses));
  return Int32Array.from(keys, (_, i) => {
    const many = Array.isArray(given);
    const label = checkInt(many ? `labels[${i}]` : 'labels', many ? given[i] : given, -1, numClasses - 1);
    return label < 0 ? numClasses : label;
  });
}
