// One Adam step in float64: what the references of adamw, adamw8 and sgd share.
import { type Args, at, make, type Ten, toDType } from './kit.js';

const DYNAMIC = ['lr', 'weightDecay', 'step', 'invScale'] as const;

/** One of the numbers that `dynamic`, where given, holds instead of the attributes. */
export function setting(c: Args, name: (typeof DYNAMIC)[number]): number {
  const dynamic = c.opt('dynamic');
  return dynamic ? at(dynamic, DYNAMIC.indexOf(name)) : c.num(name);
}

/** The factor of the gradients, or undefined where stats forbid the step. */
export function gradientFactor(c: Args): number | undefined {
  const stats = c.opt('stats');
  if (!stats) return setting(c, 'invScale');
  if (at(stats, 1) !== 0) return undefined;
  const norm = Math.sqrt(at(stats, 0)) * setting(c, 'invScale');
  return setting(c, 'invScale') * (c.num('maxNorm') > 0 ? Math.min(1, c.num('maxNorm') / (norm + 1e-6)) : 1);
}

/** The new parameter and moments of element i. */
export function adam(c: Args, factor: number, p: number, grad: number, m0: number, v0: number): [number, number, number] {
  const [b1, b2] = [Math.round(c.num('beta1') * 1e7) / 1e7, Math.round(c.num('beta2') * 1e7) / 1e7];
  const [lr, decay, step] = [setting(c, 'lr'), setting(c, 'weightDecay'), setting(c, 'step')];
  const g = grad * factor + (c.flag('decoupled') ? 0 : decay * p);
  const m = b1 * m0 + (1 - b1) * g;
  const v = b2 * v0 + (1 - b2) * g * g;
  const denominator = Math.sqrt(v) / Math.sqrt(1 - b2 ** step) + c.num('eps');
  const kept = c.flag('decoupled') ? p * (1 - lr * decay) : p;
  return [kept - ((lr / (1 - b1 ** step)) * m) / denominator, m, v];
}

const STEP: Readonly<Record<string, number>> = { f16: 2 ** -10, bf16: 2 ** -7 };

// Distance of x to the boundary between two 16-bit values, relative to x.
function roundingMargin(x: number, dtype: string): number {
  const quantum = STEP[dtype];
  if (!quantum || x === 0) return Number.POSITIVE_INFINITY;
  const ulp = quantum * 2 ** Math.floor(Math.log2(Math.max(Math.abs(x), 2 ** -14)));
  const part = Math.abs(x / ulp) % 1;
  return (Math.abs(part - 0.5) * ulp) / Math.abs(x);
}

/** What becomes of the parameter, and of the master where there is one; the margin of rounding to 16 bits. */
export function parameters(c: Args, next: (i: number, p: number) => number): { tensors: Record<string, Ten>; margin: number } {
  const param = c.ten('param');
  const master = c.opt('master');
  const dtype = c.dtypes.param as string;
  const exact = make(param.shape, (i) => next(i, at(master ?? param, i)));
  const margin = exact.data.reduce((least, x) => Math.min(least, roundingMargin(x, dtype)), Number.POSITIVE_INFINITY);
  const rounded = dtype === 'f32' ? exact : make(param.shape, (i) => toDType(at(exact, i), dtype));
  return { tensors: { param: rounded, ...(master && { master: exact }) }, margin };
}
