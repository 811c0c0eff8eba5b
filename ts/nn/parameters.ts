import { ArgumentError } from '../core/errors.js';
import type { Engine, Tensor } from '../engine/index.js';
import type { ParamSpec } from './module.js';
import type { WeightSource } from './source.js';

/** A run of parameters that lie together: [begin, end) in elements of the flat tensors. */
export interface ParamRange {
  readonly begin: number;
  readonly end: number;
}

/**
 * Trained parameters of a model and their gradients, each as one flat f32 tensor with a view per parameter, so that zeroing, norms,
 * optimizer and checkpoint work on whole ranges. Parameters that `noDecay` chooses lie first.
 */
export class Parameters {
  private constructor(
    readonly engine: Engine,
    readonly specs: readonly ParamSpec[],
    /** [n] f32. */
    readonly values: Tensor,
    /** [n] f32; absent in frozen sets. */
    readonly grads: Tensor | undefined,
    private readonly views: ReadonlyMap<string, { value: Tensor; grad?: Tensor; range: ParamRange }>,
  ) {}

  /** Not implemented. */
  static async create(_engine: Engine, _specs: readonly ParamSpec[], _source: WeightSource): Promise<Parameters> {
    throw new ArgumentError('not implemented');
  }

  /** The view of one parameter. Throws ArgumentError for an unknown name. */
  get(name: string): Tensor {
    return this.entry(name).value;
  }

  grad(name: string): Tensor {
    return this.entry(name).grad!;
  }

  private entry(name: string): { value: Tensor; grad?: Tensor } {
    const found = this.views.get(name);
    if (!found) throw new ArgumentError(`parameter ${JSON.stringify(name)} is unknown`);
    return found;
  }
}
