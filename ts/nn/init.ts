import type { DType } from '../core/dtype.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { ParamSpec } from './module.js';
import type { WeightInfo, WeightSource } from './source.js';

/** How a parameter starts: the distributions of the reference, drawn from Philox streams keyed by the parameter's name. */
export type Init =
  | { readonly kind: 'constant'; readonly value: number }
  | { readonly kind: 'uniform'; readonly bound: number }
  | { readonly kind: 'normal'; readonly std: number; readonly rows?: readonly RowScale[]; readonly axis?: number }
  | {
      readonly kind: 'truncNormal';
      readonly std: number;
      readonly scale?: number;
      readonly rows?: readonly RowScale[];
      readonly axis?: number;
    }
  | { readonly kind: 'values'; readonly values: () => Float32Array | Int32Array };

/** `count` consecutive rows along `axis` are multiplied by `scale`. */
export interface RowScale {
  readonly count: number;
  readonly scale: number;
}

export const zeros: Init = { kind: 'constant', value: 0 };
export const ones: Init = { kind: 'constant', value: 1 };

/** torch's default for convolutions and linear layers: kaiming uniform with a = sqrt(5), that is U(-1, 1) / sqrt(fanIn). */
export const fanInUniform = (fanIn: number): Init => ({ kind: 'uniform', bound: 1 / Math.sqrt(fanIn) });

/** 32-bit FNV-1a of a name. */
export function streamOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash | 0;
}

/** Low and high 32 bits of a seed in [0, 2^53), as signed words. */
export function seedWords(seed: number): [number, number] {
  return [(seed % 0x100000000) | 0, Math.floor(seed / 0x100000000) | 0];
}

/** A state dict of seeded random numbers; nothing is kept, every load draws the same values again. */
export class InitSource implements WeightSource {
  readonly path: string;
  private readonly specs: Map<string, ParamSpec>;
  private readonly words: [number, number];

  constructor(specs: readonly ParamSpec[], seed: number) {
    this.path = `random weights of seed ${seed}`;
    this.specs = new Map(specs.map((spec) => [spec.name, spec]));
    this.words = seedWords(seed);
  }

  keys(): Iterable<string> {
    return this.specs.keys();
  }

  has(key: string): boolean {
    return this.specs.has(key);
  }

  info(key: string): WeightInfo {
    const spec = this.specs.get(key)!;
    return { dtype: spec.dtype ?? 'f32', shape: spec.shape };
  }

  load(engine: Engine, key: string, _options?: { dtype?: DType }): Tensor {
    const { shape, init } = this.specs.get(key)!;
    const { ops } = engine;
    const [seedLo, seedHi] = this.words;
    const stream = streamOf(key);
    switch (init.kind) {
      case 'constant':
        return ops.fill({ shape: [...shape], value: init.value });
      case 'values':
        return engine.tensor(init.values(), shape);
      case 'uniform':
        return ops.random({ shape: [...shape], kind: 'uniform', mean: -init.bound, std: init.bound, seedLo, seedHi, stream });
      case 'normal':
      case 'truncNormal': {
        const kind = init.kind === 'normal' ? 'normal' : 'trunc_normal';
        return engine.scope(() => {
          let y = ops.random({ shape: [...shape], kind, mean: 0, std: init.std, seedLo, seedHi, stream });
          if (init.kind === 'truncNormal' && init.scale !== undefined) y = ops.affine(y, { mul: init.scale });
          if (init.rows) y = ops.binary(y, rowScales(engine, init.rows, shape, init.axis ?? 0), { fn: 'mul' });
          return y;
        });
      }
    }
  }
}

function rowScales(engine: Engine, rows: readonly RowScale[], shape: readonly number[], axis: number): Tensor {
  const values = new Float32Array(shape[axis]!);
  let at = 0;
  for (const { count, scale } of rows) {
    values.fill(scale, at, at + count);
    at += count;
  }
  return engine.tensor(
    values,
    shape.map((dim, i) => (i === axis ? dim : 1)),
  );
}
