import { checkBoolean, checkEnum, checkFunction, checkInt, checkNumber, checkOptions, refuse } from '../../core/check.js';
import { ArgumentError } from '../../core/errors.js';
import type { Graph, Tensor } from '../../engine/index.js';
import { type VqvaeConfig, vqvaeConfig, type WinogradTile } from '../../models/vqvae/index.js';
import type { Precision } from '../../nn/index.js';

/** A further term of the loss: perceptual, adversarial, ... */
export interface LossTerm {
  /** Names its metric. */
  readonly name: string;
  readonly weight: number;
  /**
   * x, rec [B, H, W, 3] in [-1, 1], rec not clamped; gives [1]. Gradients flow to rec through the ops of g. In runs with `graph` it is called once per
   * shape of the batch and its ops are replayed: numbers that it draws itself would stay what they were.
   */
  apply(g: Graph, x: Tensor, rec: Tensor): Tensor;
}

export interface KmeansStart {
  /** Batches whose features are gathered. */
  readonly batches: number;
  readonly iterations: number;
  /** Largest number of vectors, drawn at random from all; at least V. */
  readonly maxVectors: number;
  readonly start: 'random' | 'kmeans++';
}

export interface DeadCodeRestart {
  /** A code that no vector of this many iterations was nearest to starts anew. */
  readonly after: number;
  /** So does one whose running hits over all scales are below this, once it is `after` iterations old; 0: never. */
  readonly below: number;
}

/** Settings of VQVAE training; what is absent is taken from DEFAULT_VQVAE_TRAINING. */
export interface VqvaeTrainOptions {
  readonly config?: Partial<VqvaeConfig>;
  /** Of the first weights, k-means and restarts. */
  readonly seed?: number;
  /** Weights of the mean absolute and the mean squared error between images in [-1, 1]. */
  readonly recon?: { readonly l1?: number; readonly l2?: number };
  readonly vqWeight?: number;
  readonly entropyWeight?: number;
  readonly entropyTemperature?: number;
  /** False: the codebook starts as `eini` says. */
  readonly kmeans?: Partial<KmeansStart> | false;
  readonly restart?: Partial<DeadCodeRestart> | false;
  /** Until this iteration the decoder sees the features as they are; the codebook follows them. */
  readonly quantizeFrom?: number;
  /** Start of the codebook: 0 N(0, 1), > 0 truncated normal of that std, < 0 uniform of |eini| / V. */
  readonly eini?: number;
  /** Every phi starts as the identity, so that a code takes its whole share of the residual away from the first step on. */
  readonly phiIdentity?: boolean;
  readonly winograd?: WinogradTile;
  /** Activations inside the blocks are computed again in the backward pass instead of kept. */
  readonly checkpointing?: boolean;
  /** Dtype of activations and packed weights in training; parameters, features, quantizer, norms and losses stay f32. Default f32. */
  readonly precision?: Precision;
  readonly extraLosses?: readonly LossTerm[];
  /** Pictures per log entry. */
  readonly shown?: number;
}

export interface VqvaeTraining {
  readonly config: VqvaeConfig;
  readonly seed: number;
  readonly recon: { readonly l1: number; readonly l2: number };
  readonly vqWeight: number;
  readonly entropyWeight: number;
  readonly entropyTemperature: number;
  readonly kmeans: KmeansStart | false;
  readonly restart: DeadCodeRestart | false;
  readonly quantizeFrom: number;
  readonly eini: number;
  readonly phiIdentity: boolean;
  readonly winograd: WinogradTile;
  readonly checkpointing: boolean;
  readonly precision: Precision;
  readonly extraLosses: readonly LossTerm[];
  readonly shown: number;
}

export const DEFAULT_VQVAE_TRAINING: Omit<VqvaeTraining, 'config'> = {
  seed: 0,
  recon: { l1: 0, l2: 1 },
  vqWeight: 1,
  entropyWeight: 0,
  entropyTemperature: 1,
  kmeans: { batches: 16, iterations: 10, maxVectors: 65536, start: 'random' },
  restart: { after: 100, below: 0 },
  quantizeFrom: 0,
  eini: 0,
  phiIdentity: true,
  winograd: 2,
  checkpointing: false,
  precision: 'f32',
  extraLosses: [],
  shown: 8,
};

const NAMES = ['config', ...Object.keys(DEFAULT_VQVAE_TRAINING)];

/** Checks settings and fills in defaults. Throws ArgumentError that names the option. */
export function vqvaeTraining(given: VqvaeTrainOptions = {}): VqvaeTraining {
  checkOptions('VQVAE training', given, NAMES);
  const d = DEFAULT_VQVAE_TRAINING;
  const recon = given.recon ?? d.recon;
  checkOptions('recon', recon, ['l1', 'l2']);
  const [l1, l2] = [checkNumber('recon.l1', recon.l1 ?? 0, 0, 1e6), checkNumber('recon.l2', recon.l2 ?? 0, 0, 1e6)];
  if (l1 + l2 === 0) throw new ArgumentError('recon: both weights are 0, one of l1 and l2 must count');
  const config = vqvaeConfig(given.config ?? {});
  return {
    config,
    seed: checkInt('seed', given.seed ?? d.seed, 0),
    recon: { l1, l2 },
    vqWeight: checkNumber('vqWeight', given.vqWeight ?? d.vqWeight, 0, 1e6),
    entropyWeight: checkNumber('entropyWeight', given.entropyWeight ?? d.entropyWeight, 0, 1e6),
    entropyTemperature: checkNumber('entropyTemperature', given.entropyTemperature ?? d.entropyTemperature, 1e-6, 1e6),
    kmeans: kmeansOf(given.kmeans, config),
    restart: restartOf(given.restart),
    quantizeFrom: checkInt('quantizeFrom', given.quantizeFrom ?? d.quantizeFrom, 0),
    eini: checkNumber('eini', given.eini ?? d.eini, -1e6, 1e6),
    phiIdentity: checkBoolean('phiIdentity', given.phiIdentity ?? d.phiIdentity),
    winograd: winogradOf(given.winograd ?? d.winograd),
    checkpointing: checkBoolean('checkpointing', given.checkpointing ?? d.checkpointing),
    precision: checkEnum('precision', given.precision ?? d.precision, ['f32', 'f16', 'bf16']),
    extraLosses: termsOf(given.extraLosses ?? []),
    shown: checkInt('shown', given.shown ?? d.shown, 0, 64),
  };
}

function kmeansOf(given: VqvaeTrainOptions['kmeans'], config: VqvaeConfig): KmeansStart | false {
  if (given === false) return false;
  checkOptions('kmeans', given, ['batches', 'iterations', 'maxVectors', 'start']);
  const { batches, iterations, maxVectors, start } = { ...(DEFAULT_VQVAE_TRAINING.kmeans as KmeansStart), ...given };
  return {
    batches: checkInt('kmeans.batches', batches, 1, 1 << 20),
    iterations: checkInt('kmeans.iterations', iterations, 0, 10_000),
    maxVectors: checkInt('kmeans.maxVectors', Math.max(maxVectors, config.vocabSize), 1, 1 << 26),
    start: checkEnum('kmeans.start', start, ['random', 'kmeans++']),
  };
}

function restartOf(given: VqvaeTrainOptions['restart']): DeadCodeRestart | false {
  if (given === false) return false;
  checkOptions('restart', given, ['after', 'below']);
  const { after, below } = { ...(DEFAULT_VQVAE_TRAINING.restart as DeadCodeRestart), ...given };
  return { after: checkInt('restart.after', after, 1), below: checkNumber('restart.below', below, 0, 1e9) };
}

function winogradOf(value: unknown): WinogradTile {
  return value === 0 || value === 2 || value === 4 ? value : refuse('winograd', value, '0, 2 or 4');
}

function termsOf(terms: readonly LossTerm[]): readonly LossTerm[] {
  for (const [i, { name, weight, apply }] of terms.entries()) {
    checkNumber(`extraLosses[${i}].weight`, weight, 0, 1e6);
    checkFunction(`extraLosses[${i}].apply`, apply);
    if (['loss', 'rec', 'vq', 'psnr', 'entropy'].includes(name))
      throw new ArgumentError(`extraLosses[${i}].name is ${name}, which is the name of another metric`);
  }
  return terms;
}
