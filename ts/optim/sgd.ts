import { checkNumber } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { Tensor } from '../engine/index.js';
import type { Parameters } from '../nn/index.js';
import { clearRows, Optimizer, type RangeStep, type TorchOptions } from './optimizer.js';
import { entry, float, mismatch, overwrite } from './state.js';

export interface SgdOptions {
  /** Default 0: no velocity is kept. */
  readonly momentum?: number;
  readonly nesterov?: boolean;
}

/** Stochastic gradient descent with momentum as torch.optim.SGD without dampening. */
export class SGD extends Optimizer {
  readonly momentum: number;
  readonly nesterov: boolean;
  /** One flat tensor per bucket. */
  private readonly velocity: readonly Tensor[];
  private readonly views = new Map<string, Tensor>();

  constructor(params: Parameters, options: SgdOptions = {}) {
    super(params);
    const { momentum = 0, nesterov = false } = options;
    this.momentum = checkNumber('momentum', momentum, 0, 1);
    this.nesterov = nesterov;
    if (nesterov && momentum === 0) throw new ArgumentError('nesterov needs a momentum above 0');
    const { engine, buckets } = params;
    this.velocity = momentum === 0 ? [] : buckets.map(({ size }) => engine.ops.fill({ shape: [size] }));
    for (const [b, flat] of this.velocity.entries())
      for (const [i, name] of buckets[b]!.names.entries())
        this.views.set(name, engine.view(flat, buckets[b]!.begins[i]!, params.get(name).shape));
  }

  resetRows(name: string, rows: Int32Array): void {
    const view = this.views.get(name);
    if (view) clearRows(view, rows);
  }

  dispose(): void {
    for (const tensor of [...this.views.values(), ...this.velocity]) tensor.dispose();
  }

  protected update({ range, lr, weightDecay, dynamic }: RangeStep, call: { stats: Tensor; invScale: number; maxNorm: number }): void {
    const { engine, buckets } = this.params;
    const { values, grads } = buckets[range.bucket]!;
    const part = (flat: Tensor) => engine.view(flat, range.begin, [range.end - range.begin]);
    const flat = this.velocity[range.bucket];
    const { momentum, nesterov } = this;
    const velocity = flat && part(flat);
    engine.ops.sgd(part(values), part(grads!), { lr, weightDecay, dynamic, momentum, nesterov, velocity, ...call });
  }

  protected torchOptions(weightDecay: number): TorchOptions {
    return {
      momentum: float(this.momentum),
      dampening: 0,
      weight_decay: float(weightDecay),
      nesterov: this.nesterov,
      maximize: false,
      foreach: null,
      differentiable: false,
    };
  }

  protected entryOf(name: string): Readonly<Record<string, unknown>> | null {
    const view = this.views.get(name);
    return view ? { momentum_buffer: view } : null;
  }

  protected async restoreEntries(order: readonly string[], of: (i: number) => unknown): Promise<number> {
    const missing = order.filter((_, i) => of(i) === undefined);
    const empty = missing.length === order.length;
    const { engine } = this.params;
    if (empty)
      for (const flat of this.velocity)
        engine.scope(() => engine.ops.writeSlice(flat, engine.ops.fill({ shape: [...flat.shape] }), { axis: 0, start: 0 }));
    else if (missing.length > 0) throw mismatch(`it has no entry of ${missing[0]}`);
    else if (this.momentum === 0) throw mismatch('it has a momentum, this optimizer has none');
    else
      for (const [i, name] of order.entries())
        await overwrite(this.views.get(name)!, entry(of(i), 'momentum_buffer'), `momentum of ${name}`);
    await engine.flush();
    return empty ? 0 : 1;
  }
}
