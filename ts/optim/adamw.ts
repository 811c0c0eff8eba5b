import { PyTuple } from '../checkpoint/index.js';
import { checkNumber, refuse } from '../core/check.js';
import type { Tensor } from '../engine/index.js';
import type { Parameters, ParamRange } from '../nn/index.js';
import { filterParams, type ParamGroup } from './filter-params.js';
import { clearRows, commonStep, Optimizer, type RangeStep, type TorchOptions } from './optimizer.js';
import { entry, float, groupsOf, mismatch, overwrite, scalar, scalarTensor } from './state.js';

export interface AdamOptions {
  /** Default [0.9, 0.999]; the reference trains VAR with [0.9, 0.95]. */
  readonly betas?: readonly [number, number];
  readonly eps?: number;
  /** Bits of a stored moment: 32, or 8 with a scale per block of 256 elements. */
  readonly bits?: 32 | 8;
}

export interface AdamWOptions extends AdamOptions {
  /** AdamW (true, default): decay acts on the parameter. Adam: it is added to the gradient. */
  readonly decoupled?: boolean;
}

/** Elements that share one scale of the 8-bit moments. */
const BLOCK = 256;
/** The code of zero in a signed moment. */
const ZERO = 128;

/** Both moments of one range; the scales are those of 8-bit moments. */
interface Moments {
  readonly range: ParamRange;
  readonly m: Tensor;
  readonly v: Tensor;
  readonly mScale?: Tensor;
  readonly vScale?: Tensor;
}

type SavedRange = Record<'names' | 'm' | 'v' | 'm_scale' | 'v_scale', unknown>;

/**
 * AdamW (Loshchilov and Hutter, 2019), and Adam with `decoupled: false`, in one pass per range: unscale, clip, check, decay, update. With
 * `bits: 8` the state holds `step`, and under `ranges` per range of parameters their names, the codes `m` and `v` [elements] and the scales
 * `m_scale` and `v_scale` [ceil(elements / 256)] of the op adamw8; torch cannot read that, but `param_groups` is the same.
 */
export class AdamW extends Optimizer {
  readonly betas: readonly [number, number];
  readonly eps: number;
  readonly decoupled: boolean;
  readonly bits: 32 | 8;
  private readonly moments: readonly Moments[];
  private readonly views = new Map<string, { m: Tensor; v: Tensor }>();

  constructor(params: Parameters, options: AdamWOptions = {}) {
    super(params);
    const { betas = [0.9, 0.999], eps = 1e-8, decoupled = true, bits = 32 } = options;
    for (const [i, beta] of betas.entries()) if (!(checkNumber(`betas[${i}]`, beta, 0, 1) < 1)) refuse(`betas[${i}]`, beta, 'less than 1');
    if (bits !== 32 && bits !== 8) refuse('bits', bits, '32 or 8');
    this.betas = betas;
    this.eps = checkNumber('eps', eps, 0, 1);
    this.decoupled = decoupled;
    this.bits = bits;
    this.moments = params.ranges.map((range) => this.allocate(range));
    if (bits === 32) this.makeViews();
  }

  override state(groups: readonly ParamGroup[] = filterParams(this.params)): Record<string, unknown> {
    const torch = super.state(groups);
    if (this.bits === 32) return torch;
    const ranges = this.moments.map(({ range, m, v, mScale, vScale }) => ({
      names: this.namesIn(range),
      m,
      v,
      m_scale: mScale,
      v_scale: vScale,
    }));
    return { bits: 8, step: this.steps, ranges, param_groups: torch.param_groups };
  }

  override async restore(saved: unknown, groups: readonly ParamGroup[] = filterParams(this.params)): Promise<void> {
    const bits = entry(saved, 'bits') === undefined ? 32 : 8;
    groupsOf(saved);
    if (bits !== this.bits) throw mismatch(`its moments have ${bits} bits, this optimizer's have ${this.bits}`);
    await super.restore(saved, groups);
  }

  resetRows(name: string, rows: Int32Array): void {
    const view = this.views.get(name);
    if (view) for (const tensor of [view.m, view.v]) clearRows(tensor, rows);
    else this.resetCodes(name, rows);
  }

  dispose(): void {
    for (const { m, v } of this.views.values()) for (const tensor of [m, v]) tensor.dispose();
    for (const { m, v, mScale, vScale } of this.moments) for (const tensor of [m, v, mScale, vScale]) tensor?.dispose();
  }

  protected update({ range, lr, weightDecay, dynamic }: RangeStep, call: { stats: Tensor; invScale: number; maxNorm: number }): void {
    const { engine, buckets } = this.params;
    const { values, grads } = buckets[range.bucket]!;
    const size = [range.end - range.begin];
    const { m, v, mScale, vScale } = this.momentsOf(range);
    const param = engine.view(values, range.begin, size);
    const grad = engine.view(grads!, range.begin, size);
    const { stats, invScale, maxNorm } = call;
    const [beta1, beta2] = this.betas;
    const rates = { lr, weightDecay, step: this.steps, invScale, dynamic };
    const attrs = { ...rates, beta1, beta2, eps: this.eps, decoupled: this.decoupled, stats, maxNorm };
    if (mScale && vScale) engine.ops.adamw8(param, grad, m, v, mScale, vScale, attrs);
    else engine.ops.adamw(param, grad, m, v, attrs);
  }

  protected torchOptions(weightDecay: number): TorchOptions {
    return {
      betas: new PyTuple(this.betas.map(float)),
      eps: float(this.eps),
      weight_decay: float(weightDecay),
      amsgrad: false,
      foreach: null,
      maximize: false,
      capturable: false,
      differentiable: false,
      fused: null,
    };
  }

  protected entryOf(name: string): Readonly<Record<string, unknown>> | null {
    const view = this.views.get(name);
    return view ? { step: scalarTensor(this.steps), exp_avg: view.m, exp_avg_sq: view.v } : null;
  }

  protected async restoreEntries(order: readonly string[], of: (i: number) => unknown, saved: unknown): Promise<number> {
    if (this.bits === 8) return await this.restore8(saved);
    const missing = order.filter((_, i) => of(i) === undefined);
    if (missing.length === order.length) {
      this.clear();
      return 0;
    }
    if (missing.length > 0) throw mismatch(`it has no entry of ${missing[0]}`);
    const steps = await commonStep(order, of);
    for (const [i, name] of order.entries()) {
      const { m, v } = this.views.get(name)!;
      await overwrite(m, entry(of(i), 'exp_avg'), `exp_avg of ${name}`);
      await overwrite(v, entry(of(i), 'exp_avg_sq'), `exp_avg_sq of ${name}`);
    }
    await this.params.engine.flush();
    return steps;
  }

  private async restore8(saved: unknown): Promise<number> {
    const list = entry(saved, 'ranges');
    const ranges = (Array.isArray(list) ? list : []) as SavedRange[];
    const wanted = this.moments.map(({ range }) => this.namesIn(range).join());
    if (ranges.map((range) => [...(entry(range, 'names') as string[])].join()).join(';') !== wanted.join(';'))
      throw mismatch('its 8-bit moments belong to other parameters');
    for (const [i, { m, v, mScale, vScale }] of this.moments.entries()) {
      const from = ranges[i]!;
      await overwrite(m, entry(from, 'm'), `m of range ${i}`);
      await overwrite(v, entry(from, 'v'), `v of range ${i}`);
      await overwrite(mScale!, entry(from, 'm_scale'), `m_scale of range ${i}`);
      await overwrite(vScale!, entry(from, 'v_scale'), `v_scale of range ${i}`);
    }
    await this.params.engine.flush();
    return await scalar(entry(saved, 'step'), 'step');
  }

  private allocate(range: ParamRange): Moments {
    const { ops } = this.params.engine;
    const shape = [range.end - range.begin];
    if (this.bits === 32) return { range, m: ops.fill({ shape }), v: ops.fill({ shape }) };
    const scales = [Math.ceil(shape[0]! / BLOCK)];
    return {
      range,
      m: ops.fill({ shape, dtype: 'u8', value: ZERO }),
      v: ops.fill({ shape, dtype: 'u8' }),
      mScale: ops.fill({ shape: scales }),
      vScale: ops.fill({ shape: scales }),
    };
  }

  private makeViews(): void {
    const { engine, buckets } = this.params;
    for (const { range, m, v } of this.moments) {
      const { names, begins } = buckets[range.bucket]!;
      for (const name of this.namesIn(range)) {
        const at = begins[names.indexOf(name)]! - range.begin;
        const { shape } = this.params.get(name);
        this.views.set(name, { m: engine.view(m, at, shape), v: engine.view(v, at, shape) });
      }
    }
  }

  // 8-bit codes: the scales of the blocks stay, they only bound what the codes mean.
  private resetCodes(name: string, rows: Int32Array): void {
    const { engine, buckets } = this.params;
    const { shape, size } = this.params.get(name);
    const width = size / shape[0]!;
    const { range, m, v } = this.moments.find((moments) => this.namesIn(moments.range).includes(name))!;
    const { names, begins } = buckets[range.bucket]!;
    const first = begins[names.indexOf(name)]! - range.begin;
    for (const [row, count] of runsOf(rows))
      engine.scope(() => {
        const at = { axis: 0, start: first + row * width };
        engine.ops.writeSlice(m, engine.ops.fill({ shape: [count * width], dtype: 'u8', value: ZERO }), at);
        engine.ops.writeSlice(v, engine.ops.fill({ shape: [count * width], dtype: 'u8' }), at);
      });
  }

  private clear(): void {
    const { engine } = this.params;
    for (const { m, v } of this.moments)
      for (const tensor of [m, v])
        engine.scope(() => engine.ops.writeSlice(tensor, engine.ops.fill({ shape: [...tensor.shape] }), { axis: 0, start: 0 }));
  }

  private namesIn(range: ParamRange): string[] {
    const { names, begins } = this.params.buckets[range.bucket]!;
    return names.filter((_, i) => begins[i]! >= range.begin && begins[i]! < range.end);
  }

  private momentsOf(range: ParamRange): Moments {
    const found = this.moments.find(
      (moments) => moments.range.bucket === range.bucket && moments.range.begin === range.begin && moments.range.end === range.end,
    );
    if (!found) throw mismatch(`[${range.begin}, ${range.end}) of bucket ${range.bucket} is none of its ranges`);
    return found;
  }
}

/** First row and number of rows of every run of neighbours. */
function runsOf(rows: Int32Array): [first: number, count: number][] {
  const runs: [number, number][] = [];
  for (const row of rows) {
    const last = runs.at(-1);
    if (last && row === last[0] + last[1]) last[1]++;
    else runs.push([row, 1]);
  }
  return runs;
}

/** Adam (Kingma and Ba, 2015): AdamW whose decay is added to the gradient. */
export class Adam extends AdamW {
  constructor(params: Parameters, options: AdamOptions = {}) {
    super(params, { ...options, decoupled: false });
  }
}
