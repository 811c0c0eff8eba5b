import { checkBoolean, checkEnum, checkInt, checkNumber, checkOptions, refuse } from '../../core/check.js';
import { type VarConfig, type VarInitOptions, varConfig } from '../../models/var/index.js';
import type { VqvaeConfig } from '../../models/vqvae/index.js';
import type { Precision } from '../../nn/index.js';
import type { ProgressiveOptions } from './progressive.js';

/** How the pictures of the log are sampled. */
export interface SampleOptions {
  /** Classes shown, evenly spread over all; default 8. */
  readonly classes: number;
  /** Pictures per class; default 4. */
  readonly perClass: number;
  readonly cfg: number;
  readonly topK: number;
  readonly topP: number;
}

/** Settings of VAR training. */
export interface VarTrainOptions {
  /** vocabSize, zChannels and patchNums are the VQVAE's. */
  readonly config?: Partial<VarConfig>;
  /** Of the first weights, dropped labels and branches, and the pictures of the log. */
  readonly seed?: number;
  readonly labelSmooth?: number;
  readonly progressive?: ProgressiveOptions;
  /** Share of residual branches dropped in the last block, growing from 0 in the first; default 0.1 depth / 24. */
  readonly dropPathRate?: number;
  /** Activations inside the blocks are computed again in the backward pass instead of kept. */
  readonly checkpointing?: boolean;
  /** Dtype of activations and packed weights in training; parameters, residual stream, norms, softmax and loss stay f32. Default f32. */
  readonly precision?: Precision;
  readonly init?: VarInitOptions;
  readonly samples?: Partial<SampleOptions>;
}

export interface VarTraining {
  readonly config: VarConfig;
  readonly seed: number;
  readonly labelSmooth: number;
  readonly progressive: ProgressiveOptions;
  readonly dropPathRate: number;
  readonly checkpointing: boolean;
  readonly precision: Precision;
  readonly init: VarInitOptions;
  readonly samples: SampleOptions;
}

const NAMES = ['config', 'seed', 'labelSmooth', 'progressive', 'dropPathRate', 'checkpointing', 'precision', 'init', 'samples'];
const SAMPLES: SampleOptions = { classes: 8, perClass: 4, cfg: 4, topK: 0, topP: 0 };

/** Checks settings and fills in defaults. Throws ArgumentError that names the option. */
export function varTraining(given: VarTrainOptions, vqvae: VqvaeConfig): VarTraining {
  checkOptions('VAR training', given, NAMES);
  const { vocabSize, zChannels, patchNums } = vqvae;
  for (const [name, value] of Object.entries({ vocabSize, zChannels, patchNums })) {
    const asked = given.config?.[name as keyof VarConfig];
    if (asked !== undefined && JSON.stringify(asked) !== JSON.stringify(value))
      refuse(`config.${name}`, asked, `${JSON.stringify(value)}, which is the VQVAE's`);
  }
  const config = varConfig({ ...given.config, vocabSize, zChannels, patchNums: [...patchNums] });
  checkOptions('progressive', given.progressive, ['pg', 'pg0', 'pgwp', 'wp']);
  checkOptions('init', given.init, ['initAdaln', 'initAdalnGamma', 'initHead', 'initStd']);
  for (const [name, value] of Object.entries(given.init ?? {})) checkNumber(`init.${name}`, value, -1e6, 1e6);
  return {
    config,
    seed: checkInt('seed', given.seed ?? 0, 0),
    labelSmooth: checkNumber('labelSmooth', given.labelSmooth ?? 0, 0, 1),
    progressive: given.progressive ?? {},
    dropPathRate: checkNumber('dropPathRate', given.dropPathRate ?? (0.1 * config.depth) / 24, 0, 0.99),
    checkpointing: checkBoolean('checkpointing', given.checkpointing ?? false),
    precision: checkEnum('precision', given.precision ?? 'f32', ['f32', 'f16', 'bf16']),
    init: given.init ?? {},
    samples: samplesOf(given.samples),
  };
}

function samplesOf(given: Partial<SampleOptions> | undefined): SampleOptions {
  checkOptions('samples', given, Object.keys(SAMPLES));
  const { classes, perClass, cfg, topK, topP } = { ...SAMPLES, ...given };
  return {
    classes: checkInt('samples.classes', classes, 0, 64),
    perClass: checkInt('samples.perClass', perClass, 1, 64),
    cfg: checkNumber('samples.cfg', cfg, 0, 1e4),
    topK: checkInt('samples.topK', topK, 0),
    topP: checkNumber('samples.topP', topP, 0, 1),
  };
}
