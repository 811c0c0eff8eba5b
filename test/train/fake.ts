// A task, its optimizer and its data without an engine: eight numbers that follow the mean of a batch. Cheap, and every bit counts.
import type { BatchSource, TokenBatch } from '../../ts/data/index.js';
import type { StepReport } from '../../ts/optim/index.js';
import { LOOP_DEFAULTS, type LoopConfig, type LoopOptimizer, type OptimizerState, SavedTensor, type Task } from '../../ts/train/index.js';
import type { Metrics, StateValue, StepInfo, StepResult } from '../../ts/train/task.js';

export const SIZE = 8;

export interface FakeOptions {
  iters?: number;
  /** Iterations (gIt) whose loss, or gradient, is NaN. */
  badLoss?: (gIt: number) => boolean;
  badGrad?: (gIt: number) => boolean;
  /** Milliseconds of a step. */
  slow?: number;
  numClasses?: number;
  classes?: readonly string[];
  evaluation?: (epochs: number) => number;
}

export class FakeTask implements Task<TokenBatch> {
  readonly family = 'var';
  readonly head = 'AR';
  readonly params = undefined as never;
  readonly noDecay = () => false;
  readonly best = { metric: 'vL_tail', smaller: true };
  weights = Float32Array.from({ length: SIZE }, (_, i) => i / 7);
  grads = new Float32Array(SIZE);
  seen = 0;
  epochs = 0;
  prepared = 0;

  constructor(readonly options: FakeOptions = {}) {}

  async prepare(batches: AsyncIterable<TokenBatch>): Promise<void> {
    for await (const batch of batches) {
      this.weights[0]! += batch.tokens[0]! / 1000;
      this.prepared++;
      break;
    }
  }

  async step(batch: TokenBatch, info: StepInfo): Promise<StepResult> {
    if (this.options.slow) await new Promise((done) => setTimeout(done, this.options.slow));
    let loss = 0;
    for (let i = 0; i < SIZE; i++) {
      const error = this.weights[i]! - Math.sin(batch.tokens[i % batch.tokens.length]! + info.gIt * 1e-3);
      loss += error * error;
      this.grads[i]! += error * info.lossScale;
    }
    if (this.options.badGrad?.(info.gIt)) this.grads[3] = Number.NaN;
    this.seen += batch.tokens[0]!;
    const bad = this.options.badLoss?.(info.gIt) ?? false;
    const metrics: Metrics = info.log ? { Lm: loss, Lt: loss / 2, Accm: 10 * Math.cos(loss), Acct: -1 } : {};
    return {
      loss: bad ? Number.NaN : loss,
      metrics,
      ...(info.detailed ? { scalars: { 'AR_iter_loss/L_16': loss }, histograms: { weights: this.weights } } : {}),
    };
  }

  async evaluate(batches: AsyncIterable<TokenBatch>, signal?: AbortSignal): Promise<Metrics> {
    let sum = 0;
    for await (const batch of batches) {
      signal?.throwIfAborted();
      sum += batch.tokens[0]! * this.weights[1]!;
    }
    const value = this.options.evaluation?.(this.epochs) ?? Math.abs(sum);
    return { vL_mean: value, vL_tail: value, vacc_mean: 1, vacc_tail: 2 };
  }

  endEpoch(): { metrics: Metrics; warnings: string[] } {
    this.epochs++;
    return { metrics: { seen: this.seen }, warnings: [] };
  }

  async images() {
    return [{ tag: 'samples/fake', width: 2, height: 2, data: new Uint8Array(12).fill(200) }];
  }

  async state(): Promise<Record<string, StateValue>> {
    return {
      config: { size: SIZE, seen: this.seen, epochs: this.epochs },
      var_wo_ddp: new Map([['w', { dtype: 'f32', shape: [2, SIZE / 2], data: this.weights }]]),
    };
  }

  async restore(state: Record<string, StateValue>): Promise<void> {
    const { seen, epochs } = state.config as { seen: number; epochs: number };
    this.seen = seen;
    this.epochs = epochs;
    this.weights.set((await (state.var_wo_ddp as { w: SavedTensor }).w.read()) as Float32Array);
  }

  dispose(): void {}
}

/** SGD with momentum on the host. */
export class FakeOptimizer implements LoopOptimizer {
  readonly groups = [{ lr: 0, weightDecay: 0 }];
  readonly parameters = SIZE;
  momentum = new Float32Array(SIZE);
  steps = 0;

  constructor(
    readonly task: FakeTask,
    readonly ac: number,
  ) {}

  get lossScale(): number {
    return 1 / this.ac;
  }

  zeroGrads(): void {
    this.task.grads.fill(0);
  }

  async step(badLoss: boolean): Promise<StepReport> {
    const { weights, grads } = this.task;
    const nonFinite = grads.filter((g) => !Number.isFinite(g)).length;
    const skipped = badLoss || nonFinite > 0;
    const gradNorm = Math.sqrt(grads.reduce((sum, g) => sum + g * g, 0));
    if (!skipped) {
      this.steps++;
      for (let i = 0; i < SIZE; i++) {
        this.momentum[i] = 0.9 * this.momentum[i]! + grads[i]!;
        weights[i]! -= this.groups[0]!.lr * (this.momentum[i]! + this.groups[0]!.weightDecay * weights[i]!);
      }
    }
    return { gradNorm, nonFinite, firstBad: nonFinite > 0 ? 'blocks.0.w' : null, skipped, scaleLog2: null };
  }

  state(midAccumulation: boolean): OptimizerState {
    return {
      optimizer: { optimizer: { momentum: this.momentum, steps: this.steps } },
      more: { grads: midAccumulation ? this.task.grads : undefined },
    };
  }

  async restore({ optimizer, more }: OptimizerState): Promise<void> {
    const { momentum, steps } = (optimizer as { optimizer: { momentum: SavedTensor; steps: number } }).optimizer;
    this.momentum.set((await momentum.read()) as Float32Array);
    this.steps = steps;
    const { grads } = more as { grads?: SavedTensor };
    if (grads instanceof SavedTensor) this.task.grads.set((await grads.read()) as Float32Array);
  }
}

/** Tokens that depend on epoch and iteration alone. */
export function fakeBatches(options: FakeOptions = {}): BatchSource<TokenBatch> & { opened: [number, number][] } {
  const { iters = 7, numClasses = 3, classes = ['a', 'b', 'c'] } = options;
  const opened: [number, number][] = [];
  return {
    iters,
    numClasses,
    classes,
    skipped: new Map(),
    opened,
    async *epoch(ep, startIt = 0) {
      opened.push([ep, startIt]);
      for (let it = startIt; it < iters; it++) {
        const tokens = Int32Array.from({ length: 4 }, (_, i) => (ep * 7919 + it * 104729 + i * 31) % 1009);
        yield { kind: 'tokens', tokens, labels: Int32Array.of(it % 3, 0), indices: Int32Array.of(it, it + 1) };
      }
    },
    async close() {},
  };
}

export function fakeConfig(more: Partial<LoopConfig> = {}): LoopConfig {
  return { ...LOOP_DEFAULTS, ep: 4, tlr: 0.05, twd: 0.05, twde: 0.02, wp: 0.5, val_ep: 2, save_min: 0, log_it: 1, tb_it: 2, ...more };
}
