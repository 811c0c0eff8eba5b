import { ArgumentError } from '../core/errors.js';
import type { ParamSpec } from './module.js';

/** A run of parameters that lie together: elements [begin, end) of the flat tensors of one bucket. */
export interface ParamRange {
  readonly bucket: number;
  readonly begin: number;
  readonly end: number;
  /** Whether weight decay applies to it. */
  readonly decay: boolean;
}

/** Where the parameters of one flat tensor lie. */
export interface BucketPlan {
  /** In the order of memory. */
  readonly names: readonly string[];
  /** First element of each. */
  readonly begins: readonly number[];
  /** Elements in all; a parameter ends where the next begins, or up to 15 zeros before. */
  readonly size: number;
  readonly ranges: readonly ParamRange[];
}

export const BUCKET_ELEMENTS = 2 ** 30;

/** Every parameter starts at a multiple of 64 bytes. */
const ALIGN = 16;

/**
 * Places parameters one behind the other, those without weight decay first, and starts another bucket where the next would pass
 * `limit` elements. Throws ArgumentError where there is none, or one alone has more than 2^31 - 1 elements.
 */
export function planBuckets(
  specs: readonly ParamSpec[],
  noDecay: (name: string, shape: readonly number[]) => boolean,
  limit = BUCKET_ELEMENTS,
): BucketPlan[] {
  if (specs.length === 0) throw new ArgumentError('a model without parameters cannot be trained');
  const decays = new Map(specs.map((spec) => [spec, !noDecay(spec.name, spec.shape)]));
  const ordered = [false, true].flatMap((decay) => specs.filter((spec) => decays.get(spec) === decay));
  const plans: { names: string[]; begins: number[]; size: number; ranges: ParamRange[] }[] = [];
  for (const spec of ordered) {
    const elements = Math.ceil(spec.shape.reduce((a, b) => a * b, 1) / ALIGN) * ALIGN;
    if (elements > 0x7fffffff) throw new ArgumentError(`parameter ${spec.name} [${spec.shape}] has more than 2^31 - 1 elements`);
    let plan = plans.at(-1);
    if (!plan || plan.size + elements > limit) {
      plan = { names: [], begins: [], size: 0, ranges: [] };
      plans.push(plan);
    }
    plan.names.push(spec.name);
    plan.begins.push(plan.size);
    const begin = plan.size;
    plan.size += elements;
    extend(plan.ranges, { bucket: plans.length - 1, begin, end: plan.size, decay: decays.get(spec)! });
  }
  return plans;
}

function extend(ranges: ParamRange[], next: ParamRange): void {
  const last = ranges.at(-1);
  if (last?.decay === next.decay) ranges[ranges.length - 1] = { ...last, end: next.end };
  else ranges.push(next);
}
