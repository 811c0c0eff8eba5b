// Options of `train var`, and what the reference derives from them.
import { ArgumentError } from '../../core/errors.js';
import { bool, changeable, checkValues, defaultsOf, type Fields, int, matching, num, text, type Values } from './fields.js';
import { type Derived, deriveShared, patchNumsOf, SHARED_FIELDS } from './shared.js';

const CHANGE = { change: true };

export const VAR_FIELDS = {
  ...SHARED_FIELDS,
  depth: int(16, 'blocks of the transformer', 1, 256),
  ini: num(-1, 'std of the weights; -1: sqrt(1 / width / 3)', -1, 10),
  hd: num(0.02, 'factor of the head at the start'),
  aln: num(0.5, 'factor of the AdaLN projections at the start'),
  alng: num(1e-5, 'factor of their gates at the start'),
  ls: num(0, 'label smoothing', 0, 1),
  saln: bool(false, 'one AdaLN projection for all blocks'),
  anorm: bool(true, 'l2-normalised attention'),
  pn: matching(
    '',
    "sides of the token maps, '1_2_3_4', or 256, 512, 1024; default: the VQVAE's",
    "growing sides as '1_2_3_4', 256, 512, 1024",
    /^$|^\d+([_-]\d+)*$/,
  ),
  patch_size: int(0, "pixels per token at the last scale; 0: the VQVAE's", 0, 1024),
  pg: num(0, 'progressive training up to this share of the run; 0: none', 0, 0.999),
  pg0: int(4, 'scale at which progressive training starts', 0, 63),
  pgwp: num(0, 'warm-up epochs of every stage; 0: ep / 300', 0, 1e9, CHANGE),
  // -- own
  width: int(0, 'channels; 0: 64 * depth', 0, 1 << 15),
  heads: int(0, 'heads of attention; 0: width / 64', 0, 512),
  drop_path: num(-1, 'share of dropped branches in the last block; -1: 0.1 * depth / 24', -1, 0.99),
  cond_drop: num(0.1, 'share of labels replaced by the unconditional class', 0, 1),
  vae: text('', 'the VQVAE: .safetensors or .pth', 'a path', { ...CHANGE, aliases: ['vae_ckpt'] }),
  tokens: text('', 'token cache of the training images, in the place of encoding them', 'a folder', CHANGE),
  tokens_val: text('', 'token cache of the validation images', 'a folder', CHANGE),
  ckpt_blocks: bool(false, 'gradient checkpointing: activations of a block are computed again', CHANGE),
  sample_cfg: num(4, 'guidance of the pictures in the log', 0, 1e4, CHANGE),
  sample_top_k: int(0, 'top-k of the pictures in the log; 0: all', 0, 1 << 20, CHANGE),
  sample_top_p: num(0, 'top-p of the pictures in the log; 0: all', 0, 1, CHANGE),
  from: text('', 'weights to start from: .safetensors or .pth', 'a path', CHANGE),
};

export type VarGiven = Values<typeof VAR_FIELDS>;
export type VarArgs = VarGiven & Derived & { patch_nums: number[] | null };

export const VAR_CHANGEABLE: ReadonlySet<string> = changeable(VAR_FIELDS as Fields);

/** Defaults, then `given`, then what follows from both. Throws ArgumentError that names the option. */
export function varArgs(given: unknown = {}, where = 'train var'): VarArgs {
  const all = { ...defaultsOf(VAR_FIELDS), ...checkValues(where, VAR_FIELDS as Fields, given) } as VarGiven;
  const derived = deriveShared(all);
  const patch_nums = all.pn === '' ? null : patchNumsOf(all.pn);
  if (patch_nums?.some((pn, i) => pn < 1 || (i > 0 && pn <= patch_nums[i - 1]!)))
    throw new ArgumentError(`${where}: pn is '${all.pn}', accepted: ${VAR_FIELDS.pn.accepted}`);
  return {
    ...derived,
    pgwp: all.pgwp || all.ep / 300,
    sche: all.pg > 0 ? `lin${all.pg}` : all.sche,
    patch_nums,
  };
}
