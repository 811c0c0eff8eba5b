// The real training loop of VAR: losses, norms, rates, metrics, parameters and moments over several optimizer steps, then an evaluation.
import type { ImageBatch } from '../../../ts/data/index.js';
import type { Tensor } from '../../../ts/engine/index.js';
import { type Check, compare, type GoldenCase, type Got, input, type KindRunner, outputs, read } from '../kind.js';
import { batchOf, disposeTraining, type Iteration, makeTraining, near, type Training, trainIteration } from '../var-training.js';

interface StepsCase {
  iterations: Iteration[];
  param_names: string[];
  param_groups: { wd_sc: number; lr_sc: number; params: string[] }[];
  eval_counts: { acc_mean: number; acc_tail: number; images: number };
}

const same = (tensor: string, got: unknown, want: unknown): Check => {
  const ok = JSON.stringify(got) === JSON.stringify(want);
  return { tensor, maxAbsErr: ok ? 0 : 1, tolerance: 0, ok };
};

function groups({ task, stepper }: Training, want: StepsCase): Check[] {
  const got = stepper.groups.map(({ wdSc, lrSc, names }) => ({ wd_sc: wdSc, lr_sc: lrSc, params: names }));
  return [same('param_names', task.params.names, want.param_names), same('param_groups', got, want.param_groups)];
}

/** Outputs `prefix/<parameter>` that the case holds. */
const named = (c: GoldenCase, prefix: string) =>
  outputs(c).flatMap((name) => (name.startsWith(`${prefix}/`) ? [name.slice(prefix.length + 1)] : []));

async function parameters(c: GoldenCase, { task, stepper }: Training, names: readonly string[]): Promise<Check[]> {
  const checks: Check[] = [];
  for (const name of named(c, 'final')) checks.push(compare(c, `final/${name}`, await read(task.params.get(name))));
  const norms = new Float32Array(names.length);
  for (const [i, name] of names.entries()) {
    const data = (await task.params.get(name).read()) as Float32Array;
    norms[i] = Math.sqrt(data.reduce((sum, value) => sum + value * value, 0));
  }
  checks.push(compare(c, 'final_norms', { shape: [names.length], data: norms }));
  const { state } = stepper.optimizer.state() as { state: Map<number, { exp_avg: Tensor; exp_avg_sq: Tensor }> };
  const order = stepper.groups.flatMap((group) => group.names);
  for (const moment of ['exp_avg', 'exp_avg_sq'] as const)
    for (const name of named(c, moment)) checks.push(compare(c, `${moment}/${name}`, await read(state.get(order.indexOf(name))![moment])));
  return checks;
}

async function evaluation(c: GoldenCase, { task }: Training, want: StepsCase): Promise<Check[]> {
  const images = input(c, 'val_img_u8');
  async function* batches(): AsyncIterable<ImageBatch> {
    yield batchOf(images, input(c, 'val_label'), 0);
    yield batchOf(images, input(c, 'val_label'), 1, images.shape[1]! - 1);
  }
  const got = await task.evaluate(batches());
  return [
    compare(c, 'eval', { shape: [2], data: [got.vL_mean!, got.vL_tail!] }),
    near('eval: acc_mean', got.vacc_mean!, want.eval_counts.acc_mean, 1e-4),
    near('eval: acc_tail', got.vacc_tail!, want.eval_counts.acc_tail, 1e-4),
  ];
}

/** Joins readings of one tensor over the steps. */
function stack(parts: readonly Got[]): Got {
  return { shape: [parts.length, ...parts[0]!.shape], data: parts.flatMap(({ data }) => Array.from(data as ArrayLike<number>)) };
}

export const run: KindRunner = async (c, { engine }) => {
  const want = c.json as unknown as StepsCase;
  const training = await makeTraining(c, engine);
  const { task } = training;
  try {
    const checks = groups(training, want);
    const [losses, norms, tokens]: [number[], number[], number[]] = [[], [], []];
    const after = new Map(named(c, 'after_step').map((name) => [name, [] as Got[]]));
    for (const [i, iteration] of want.iterations.entries()) {
      const batch = batchOf(input(c, 'img_u8'), input(c, 'label'), i);
      tokens.push(...(await task.tokenize(batch)));
      const trained = await trainIteration(training, batch, iteration, c.json.tensors!.loss!.atol as number);
      checks.push(...trained.checks);
      losses.push(trained.result.loss);
      if (trained.gradNorm === null) continue;
      norms.push(trained.gradNorm);
      for (const [name, list] of after) list.push(await read(task.params.get(name)));
    }
    checks.push(compare(c, 'loss', { shape: [losses.length], data: losses }));
    checks.push(compare(c, 'grad_norm', { shape: [norms.length], data: norms }));
    checks.push(compare(c, 'gt_BL', { shape: c.io.get('gt_BL')!.shape, data: tokens }));
    for (const [name, list] of after) checks.push(compare(c, `after_step/${name}`, stack(list)));
    checks.push(...(await parameters(c, training, want.param_names)));
    return [...checks, ...(await evaluation(c, training, want))];
  } finally {
    disposeTraining(training);
  }
};
