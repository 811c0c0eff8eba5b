// Parameter groups of VAR training (reference: utils/lr_control.py of FoundationVision/VAR, filter_params, and the keys of its train.py).
import type { NoDecay, Parameters, ParamRange } from '../nn/index.js';
import type { ScheduledGroup } from './schedule.js';

/** Parts of names whose parameters get no weight decay in the reference's training of VAR. */
export const VAR_NOWD_KEYS: readonly string[] = [
  'cls_token',
  'start_token',
  'task_token',
  'cfg_uncond',
  'pos_embed',
  'pos_1LC',
  'pos_start',
  'start_pos',
  'lvl_embed',
  'gamma',
  'beta',
  'ada_gss',
  'moe_bias',
  'scale_mul',
];

/** No weight decay for tensors of one dim, names that end in `bias` and names that contain one of the keys. */
export function noDecayRule(keys: readonly string[] = VAR_NOWD_KEYS): NoDecay {
  return (name, shape) => shape.length === 1 || name.endsWith('bias') || keys.some((key) => name.includes(key));
}

/** Parameters that share learning rate and weight decay; the schedule writes `lr` and `weightDecay`. */
export interface ParamGroup extends ScheduledGroup {
  readonly names: readonly string[];
  readonly wdSc: number;
  readonly lrSc: number;
  /** Where they lie. */
  readonly ranges: readonly ParamRange[];
}

/**
 * The groups without (wdSc 0) and with weight decay (wdSc 1), in the order in which the declaration of the model meets them: torch numbers
 * the entries of an optimizer's state through these lists.
 */
export function filterParams(params: Parameters): ParamGroup[] {
  const groups = new Map<boolean, string[]>();
  for (const name of params.names) {
    const decay = !params.noDecay(name);
    const names = groups.get(decay);
    if (names) names.push(name);
    else groups.set(decay, [name]);
  }
  return [...groups].map(([decay, names]) => ({
    names,
    wdSc: decay ? 1 : 0,
    lrSc: 1,
    lr: 0,
    weightDecay: 0,
    ranges: params.ranges.filter((range) => range.decay === decay),
  }));
}
