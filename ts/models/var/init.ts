import type { Init } from '../../nn/index.js';
import type { VarConfig } from './config.js';

/** Factors of the reference's init_weights; the defaults are those of its trainer. */
export interface VarInitOptions {
  /** Factor of scales and shifts in the AdaLN projections. */
  readonly initAdaln?: number;
  /** Factor of the gates in the AdaLN projections. */
  readonly initAdalnGamma?: number;
  /** Factor of the head; negative: none. */
  readonly initHead?: number;
  /** Standard deviation of linear layers and embeddings; negative: sqrt(1 / (3 C)). */
  readonly initStd?: number;
}

/** The distributions of one VAR, by the role of the parameter. */
export interface VarInit {
  readonly embedding: Init;
  readonly position: Init;
  readonly linear: Init;
  /** Projections that end a residual branch, divided by sqrt(2 depth). */
  readonly residual: Init;
  readonly adaLin: Init;
  readonly adaGss: Init;
  readonly headAdaLin: Init;
  readonly head: Init;
}

/** VAR.init_weights of the reference as distributions. */
export function varInit(config: VarConfig, options: VarInitOptions = {}): VarInit {
  const { initAdaln = 0.5, initAdalnGamma = 1e-5, initHead = 0.02, initStd = -1 } = options;
  const width = config.embedDim;
  const auto = Math.sqrt(1 / width / 3);
  const std = initStd < 0 ? auto : initStd;
  const drawn = (scale?: number): Init => ({ kind: 'truncNormal', std, scale });
  const rows = (gates: number, rest: number) => [
    { count: gates, scale: initAdalnGamma },
    { count: rest, scale: initAdaln },
  ];
  return {
    embedding: drawn(),
    position: { kind: 'truncNormal', std: auto },
    linear: drawn(),
    residual: drawn(1 / Math.sqrt(2 * config.depth)),
    adaLin: { kind: 'truncNormal', std, rows: rows(2 * width, 4 * width) },
    adaGss: { kind: 'normal', std: 1 / Math.sqrt(width), rows: rows(2, 4), axis: 2 },
    headAdaLin: drawn(initAdaln),
    head: drawn(initHead >= 0 ? initHead : undefined),
  };
}
