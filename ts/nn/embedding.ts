import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import type { Init } from './init.js';
import { Module, type Take } from './module.js';

/** nn.Embedding: rows of a [V, C] table. */
export class Embedding extends Module {
  private readonly weightName: string;
  /** [V, C] f32. */
  weight!: Tensor;

  constructor(
    name: string,
    readonly count: number,
    readonly width: number,
    init: Init,
  ) {
    super(name);
    this.weightName = this.param('weight', [count, width], init);
  }

  /** idx [...] i32 gives [..., C]. */
  forward(ops: Ops<Tensor>, idx: Tensor): Tensor {
    return ops.embedding(this.weight, idx);
  }

  protected override attach(_ops: Ops<Tensor>, take: Take): void {
    this.weight = this.use(take, this.weightName);
  }
}
