// Options that every family has, under the reference's names (utils/arg_util.py of FoundationVision/VAR); below the line: this project's own.
import { roundHalfEven } from '../../core/round.js';
import { bool, choice, int, matching, num, oneOf, text, type Values } from './fields.js';

const CHANGE = { change: true };
const SCHEDULES = 'cos, lin, lin0, lin00, exp, or lin and a number between 0 and 1 (lin0.5)';
export const PN = /^\d+([_-]\d+)*$/;

export const SHARED_FIELDS = {
  data_path: text('', 'images: a folder train/<class>/*, val/<class>/*; a list; shards', 'a path', { ...CHANGE, aliases: ['data'] }),
  exp_name: text('text', 'name of the run in its log', 'a text', CHANGE),
  fp16: oneOf(0, 'arithmetic: 0 f32, 1 fp16 with a scaled loss, 2 bf16; on a CPU 16 bits save memory, not time', [0, 1, 2]),
  tblr: num(1e-4, 'base learning rate: the rate is ac * tblr * bs / 256', 0),
  twd: num(0.05, 'weight decay at the start', 0),
  twde: num(0, 'weight decay at the end; 0: twd', 0),
  tclip: num(2, 'bound of the gradient norm; 0 or less: none'),
  bs: int(768, 'global batch size', 1, 1 << 20),
  ac: int(1, 'iterations whose gradients are accumulated into one step', 1, 1 << 16),
  ep: int(250, 'epochs', 1, 1e9, CHANGE),
  wp: num(0, 'warm-up epochs; 0: ep / 50', 0, 1e9, CHANGE),
  wp0: num(0.005, 'share of the learning rate at the first iteration', 0, 1),
  wpe: num(0.01, 'share of the learning rate at the last iteration', 0, 1),
  sche: matching('lin0', `schedule: ${SCHEDULES}`, SCHEDULES, /^(cos|exp|lin|lin00?|lin0?\.\d+)$/),
  opt: choice('adamw', 'optimizer: adamw (adam is the same, as in the reference), sgd', ['adamw', 'adam', 'sgd']),
  mid_reso: num(1.125, 'images are resized to mid_reso times the resolution, then cropped', 1, 8),
  hflip: bool(false, 'mirror half of the training images'),
  workers: int(0, 'images decoded at once; 0: 2', 0, 256, CHANGE),
  seed: int(0, 'of weights, order, crops and drops', 0),
  local_out_dir_path: text('local_output', 'folder of the run', 'a path', { ...CHANGE, aliases: ['out'] }),
  tf32: bool(true, '(--device cuda) f32 products on tensor cores with 10 bits of mantissa', CHANGE),
  // -- accepted as the reference's, without effect here
  same_seed_for_all_ranks: int(0, 'shift of the seed of the order', 0),
  afuse: bool(true, 'no effect: the optimizer is one pass always', CHANGE),
  fuse: bool(true, 'no effect: fused ops are used always', CHANGE),
  vfast: int(0, 'no effect: there is nothing to compile', 0, 3, CHANGE),
  tfast: int(0, 'no effect: there is nothing to compile', 0, 3, CHANGE),
  // -- own
  graph: oneOf(-1, 'a step as one recorded graph, with the same results: 1 yes, 0 no, -1 with --device cuda', [-1, 0, 1], CHANGE),
  beta1: num(0.9, 'first beta of Adam; momentum of sgd', 0, 0.99999),
  beta2: num(0.95, 'second beta of Adam', 0, 0.9999999),
  opt_bits: oneOf(32, 'bits of a stored moment: 32, or 8 with a scale per 256 elements', [32, 8]),
  ema: num(0, 'decay of the average of weights that is exported; 0: none', 0, 0.9999999),
  val_ep: int(10, 'evaluation every so many epochs and after the last', 1, 1e9, CHANGE),
  val_bs: int(0, 'batch of the evaluation; 0: 1.5 times the training batch', 0, 1 << 16, CHANGE),
  save_it: int(0, 'checkpoint every so many iterations; 0: not by this', 0, 1e12, CHANGE),
  save_min: num(10, 'checkpoint every so many minutes; 0: not by this', 0, 1e6, CHANGE),
  save_ep: bool(true, 'checkpoint at the end of every epoch', CHANGE),
  keep: int(1, 'older checkpoints that stay beside the last', 0, 1e6, CHANGE),
  log_it: int(0, 'metrics every so many iterations; 0: about 250 times an epoch', 0, 1e9),
  tb_it: int(0, 'detailed metrics for TensorBoard every so many iterations; 0: 500, more often in short runs', 0, 1e9),
  max_nan: int(10, 'skipped steps in a row before the run goes back to its last good checkpoint', 1, 1e9, CHANGE),
  max_rewind: int(3, 'how often it goes back before it gives up', 0, 1e6, CHANGE),
  cache_mb: int(256, 'memory for resized images, in MiB', 0, 1 << 20, CHANGE),
};

export type SharedArgs = Values<typeof SHARED_FIELDS>;

/** What init_dist_and_get_args derives from the options above. */
export interface Derived {
  batch_size: number;
  glb_batch_size: number;
  tlr: number;
}

/** Fills in batch size, learning rate, weight decay at the end and warm-up as the reference does, for one process. */
export function deriveShared<A extends SharedArgs>(given: A): A & Derived {
  const batch_size = Math.max(1, roundHalfEven(given.bs / given.ac));
  return {
    ...given,
    batch_size,
    glb_batch_size: batch_size,
    bs: batch_size,
    tlr: (given.ac * given.tblr * batch_size) / 256,
    twde: given.twde || given.twd,
    wp: given.wp || given.ep / 50,
  };
}

export const PN_SHORT: Readonly<Record<string, string>> = {
  256: '1_2_3_4_5_6_8_10_13_16',
  512: '1_2_3_4_6_9_13_18_24_32',
  1024: '1_2_3_4_5_7_9_12_16_21_27_36_48_64',
};

export function patchNumsOf(pn: string): number[] {
  return (PN_SHORT[pn] ?? pn).split(/[_-]/).map(Number);
}
