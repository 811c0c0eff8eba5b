// Runs iterations of VAR training as a case describes them; shared by the kinds that train.
import type { ImageBatch } from '../../ts/data/index.js';
import type { Engine } from '../../ts/engine/index.js';
import { AdamW, annealGroups, lrWdAt, OptimizerStep } from '../../ts/optim/index.js';
import type { StepInfo, StepResult } from '../../ts/train/task.js';
import { VarTask } from '../../ts/train/var/index.js';
import { type Check, type GoldenCase, type IoTensor, ints, toNhwc } from './kind.js';
import { configOf, union } from './weights.js';

export interface TrainConfig {
  ep: number;
  sche: string;
  tlr: number;
  twd: number;
  twde: number;
  wp: number;
  wp0: number;
  wpe: number;
  pg: number;
  pg0: number;
  pgwp: number;
  ac: number;
  tclip: number;
  ls: number;
}

export interface Iteration {
  g_it: number;
  stepping: boolean;
  prog_si: number;
  lr: number[];
  wd: number[];
  prog_wp: number;
  metrics: Record<string, number>;
}

export interface Training {
  readonly task: VarTask;
  readonly stepper: OptimizerStep;
  readonly config: TrainConfig;
  readonly itersPerEp: number;
}

/** The task and the optimizer of a case, with the reference's betas and clipping and without random drops. */
export async function makeTraining(c: GoldenCase, engine: Engine): Promise<Training> {
  const config = c.json.config.train as TrainConfig;
  const { pg, pg0, pgwp, wp, ls, ac, tclip } = config;
  const task = await VarTask.create(
    engine,
    { config: configOf(c, 'vae'), weights: await union(c, 'vae') },
    {
      config: { ...configOf(c, 'var'), condDropRate: 0 },
      dropPathRate: 0,
      labelSmooth: ls,
      progressive: { pg, pg0, pgwp, wp },
    },
    await union(c, 'var'),
  );
  const stepper = new OptimizerStep(new AdamW(task.params, { betas: [0.9, 0.95] }), { clip: tclip, accumulation: ac });
  return { task, stepper, config, itersPerEp: (c.json.iters_per_epoch ?? c.json.config.iters_per_epoch) as number };
}

export function disposeTraining({ task, stepper }: Training): void {
  stepper.dispose();
  stepper.optimizer.dispose();
  task.dispose();
}

/** Images [B, 3, H, W] as bytes, and their labels. */
export function batchOf(images: IoTensor, labels: IoTensor, at: number, count = images.shape[1]!): ImageBatch {
  const [, , c, h, w] = images.shape as [number, number, number, number, number];
  const size = images.shape[1]! * c * h * w;
  const bytes = (images.data as Uint8Array).subarray(at * size, at * size + count * c * h * w);
  const { data } = toNhwc(bytes, [count, c, h, w]);
  const first = at * images.shape[1]!;
  return {
    kind: 'images',
    pixels: data,
    reso: h,
    labels: ints(labels).slice(first, first + count),
    indices: Int32Array.from({ length: count }, (_, i) => first + i),
  };
}

export interface Trained {
  readonly result: StepResult;
  /** Where the optimizer stepped. */
  readonly gradNorm: number | null;
  readonly checks: Check[];
}

/** One iteration: schedule, forward and backward, the optimizer where it steps. Rates, stage and metrics are compared with the case. */
export async function trainIteration(t: Training, batch: ImageBatch, want: Iteration, tolerance: number): Promise<Trained> {
  const { task, stepper, config, itersPerEp } = t;
  const { g_it: gIt, stepping } = want;
  const maxIt = config.ep * itersPerEp;
  const { sche, tlr, twd, twde, wp, wp0, wpe, ac } = config;
  const point = lrWdAt({ sche, peakLr: tlr, wd: twd, wdEnd: twde, wpIt: wp * itersPerEp, maxIt, wp0, wpe }, gIt);
  annealGroups(stepper.groups, point);
  if (gIt % ac === 0) task.params.zeroGrads();
  const [ep, it] = [Math.floor(gIt / itersPerEp), gIt % itersPerEp];
  const info: StepInfo = { ep, it, gIt, itersPerEp, maxIt, stepping, lossScale: stepper.lossScale, log: true, detailed: true };
  const result = await task.step(batch, info);
  const label = `iteration ${gIt}`;
  const checks = [
    ...want.lr.flatMap((lr, g) => [
      near(`${label}: lr of group ${g}`, stepper.groups[g]!.lr, lr, 1e-12),
      near(`${label}: wd of group ${g}`, stepper.groups[g]!.weightDecay, want.wd[g]!, 1e-12),
    ]),
    near(`${label}: prog_si`, result.scalars!['AR_iter_schedule/prog_si']!, want.prog_si, 0),
    near(`${label}: prog_wp`, result.scalars!['AR_iter_schedule/prog_wp']!, want.prog_wp, 1e-12),
  ];
  for (const [name, value] of Object.entries(want.metrics)) {
    const got = result.metrics[name] ?? result.scalars![`AR_iter_loss/${name}`] ?? Number.NaN;
    checks.push(near(`${label}: ${name}`, got, value, /^L/.test(name) ? tolerance : 1e-4));
  }
  const gradNorm = stepping ? (await stepper.run()).gradNorm : null;
  return { result, gradNorm, checks };
}

/** A number of case.json that has no tensor. */
export function near(tensor: string, got: number, want: number, tolerance: number): Check {
  const maxAbsErr = Math.abs(got - want);
  return { tensor, maxAbsErr, tolerance, ok: maxAbsErr <= tolerance };
}
