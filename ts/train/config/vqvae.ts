// Options of `train vqvae`. The reference never published its training: names of the model follow its VQVAE class, the optimizer's are those of
// VAR training, with defaults that suit a convolutional net.
import { ArgumentError } from '../../core/errors.js';
import { bool, changeable, checkValues, choice, defaultsOf, type Fields, int, matching, num, oneOf, text, type Values } from './fields.js';
import { type Derived, deriveShared, PN, patchNumsOf, SHARED_FIELDS } from './shared.js';

const SIDES = "growing sides as '1_2_3_4', 256, 512, 1024";

export const VQVAE_FIELDS = {
  ...SHARED_FIELDS,
  tblr: num(2e-3, SHARED_FIELDS.tblr.doc, 0),
  twd: num(0.005, SHARED_FIELDS.twd.doc, 0),
  bs: int(32, SHARED_FIELDS.bs.doc, 1, 1 << 20),
  ep: int(50, SHARED_FIELDS.ep.doc, 1, 1e9, { change: true }),
  beta2: num(0.99, SHARED_FIELDS.beta2.doc, 0, 0.9999999),
  ch: int(160, 'base width, a multiple of groups', 1, 4096),
  groups: int(32, 'groups of GroupNorm; narrow nets (ch below 128) learn far better with 8', 1, 1024, { aliases: ['norm_groups'] }),
  ch_mult: matching('1_1_2_2_4', 'factors of the width, one per resolution', "numbers as '1_2_4'", PN),
  num_res_blocks: int(2, 'residual blocks per resolution', 1, 16),
  V: int(4096, 'codewords', 2, 1 << 20, { aliases: ['vocab_size'] }),
  Cvae: int(32, 'channels of a codeword', 1, 4096, { aliases: ['z_channels'] }),
  pn: matching('1_2_3_4_5_6_8_10_13_16', "sides of the token maps, '1_2_3_4', or 256, 512, 1024", SIDES, PN),
  reso: int(0, 'side of the images; 0: the largest of pn times the reduction of ch_mult', 0, 16384),
  quant_conv_ks: oneOf(3, 'kernel of the convolutions around the quantizer', [1, 3]),
  qresi: num(0.5, 'share of the convolution in phi', -1, 1, { aliases: ['quant_resi'] }),
  share_qresi: int(4, 'phi convolutions: 0 one per scale, 1 one for all, K of them', 0, 64, { aliases: ['share_quant_resi'] }),
  znorm: bool(false, 'nearest codeword by cosine', { aliases: ['using_znorm'] }),
  beta: num(0.25, 'weight of the commitment loss', 0, 100),
  recon: choice('l2', 'reconstruction loss', ['l1', 'l2', 'l1+l2']),
  vq_weight: num(1, 'weight of the quantizer loss', 0, 1e6),
  entropy: num(0, 'weight of the entropy term', 0, 1e6),
  eini: num(0, 'start of the codebook: 0 normal, > 0 truncated normal of that std, < 0 uniform', -1e6, 1e6),
  phi_identity: bool(true, 'phi starts as the identity: codes take their share of the residual from the first step on'),
  kmeans: bool(true, 'start the codebook by k-means of the first features'),
  kmeans_batches: int(16, 'batches for it', 1, 1 << 20),
  kmeans_it: int(10, 'iterations of it', 0, 10_000),
  restart: int(100, 'codes without a hit for so many iterations start anew; 0: never', 0, 1e9),
  restart_below: num(0, 'so do codes whose running hits are below this; 0: never', 0, 1e9),
  quantize_from: int(0, 'until this iteration the decoder sees features that are not quantized', 0, 1e12),
  winograd: oneOf(2, 'tile of the 3x3 convolutions: 2, 4 (faster, less exact), 0 none', [0, 2, 4]),
  ckpt_blocks: bool(false, 'gradient checkpointing: activations of a block are computed again', { change: true }),
  from: text('', 'weights to start from: .safetensors or .pth', 'a path', { change: true }),
};

export type VqvaeGiven = Values<typeof VQVAE_FIELDS>;
export type VqvaeArgs = VqvaeGiven & Derived & { patch_nums: number[]; ch_mults: number[]; data_load_reso: number };

export const VQVAE_CHANGEABLE: ReadonlySet<string> = changeable(VQVAE_FIELDS as Fields);

/** Defaults, then `given`, then what follows from both. Throws ArgumentError that names the option. */
export function vqvaeArgs(given: unknown = {}, where = 'train vqvae'): VqvaeArgs {
  const all = { ...defaultsOf(VQVAE_FIELDS), ...checkValues(where, VQVAE_FIELDS as Fields, given) } as VqvaeGiven;
  const patch_nums = patchNumsOf(all.pn);
  if (patch_nums.length < 2 || patch_nums.some((pn, i) => pn < 1 || (i > 0 && pn <= patch_nums[i - 1]!)))
    throw new ArgumentError(`${where}: pn is '${all.pn}', accepted: ${SIDES}, two at least`);
  if (all.ch % all.groups !== 0) throw new ArgumentError(`${where}: ch is ${all.ch}, accepted: a multiple of groups (${all.groups})`);
  const ch_mults = all.ch_mult.split(/[_-]/).map(Number);
  const data_load_reso = patch_nums.at(-1)! * 2 ** (ch_mults.length - 1);
  if (all.reso !== 0 && all.reso !== data_load_reso)
    throw new ArgumentError(
      `${where}: reso is ${all.reso}, accepted: ${data_load_reso}, that is the largest of pn (${patch_nums.at(-1)}) times ${2 ** (ch_mults.length - 1)}, the reduction of ch_mult '${all.ch_mult}'`,
    );
  return { ...deriveShared(all), patch_nums, ch_mults, data_load_reso };
}
