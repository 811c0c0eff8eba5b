import type { TensorSource } from '../checkpoint/index.js';
import { throwIfAborted } from '../core/check.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';
import type { Engine, Graph, Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import { InitSource } from './init.js';
import type { ParamSpec } from './module.js';
import { BUCKET_ELEMENTS, type BucketPlan, type ParamRange, planBuckets } from './parameter-plan.js';
import type { Numerics, WeightSource } from './source.js';

/** Elements of the block of zeros that clears gradients. */
const ZEROS = 1 << 20;

/** Chooses the parameters that get no weight decay. */
export type NoDecay = (name: string, shape: readonly number[]) => boolean;

export interface ParametersOptions {
  /** Default: every parameter decays. */
  readonly noDecay?: NoDecay;
  /** Room for gradients; default true. */
  readonly grads?: boolean;
  /** Largest number of elements of one flat tensor; default 2^30. */
  readonly bucketElements?: number;
  readonly signal?: AbortSignal;
}

/** Parameters that lie together in one flat tensor. */
export interface ParamBucket extends BucketPlan {
  /** [size] f32. */
  readonly values: Tensor;
  /** [size] f32; absent in frozen sets. */
  readonly grads: Tensor | undefined;
  /** [names + 1] i32: first element of every parameter, in the order of `names`, and the end. */
  readonly offsets: Tensor;
}

/** A module that takes its weights by name. */
export interface Bindable {
  bind(ops: Ops<Tensor>, take: (name: string) => Tensor, numerics?: Numerics): void;
}

/** A graph that records: a tape. */
interface Recorder extends Graph {
  watch(tensor: Tensor, grad: Tensor): void;
}

const isRecorder = (g: Graph): g is Recorder => typeof (g as Partial<Recorder>).watch === 'function';

/**
 * Trained parameters of a model and their gradients, each as one flat f32 tensor (several above 2^30 elements) with a view per
 * parameter, so that zeroing, norms, optimizer and checkpoint work on whole ranges. In memory the parameters that `noDecay` chooses lie
 * first; `names` keeps the order of declaration. Buffers of the model (`ParamSpec.buffer`) are held beside them and are not trained.
 */
export class Parameters {
  /** Names of the parameters in the order of declaration, which is that of the reference's named_parameters(). */
  readonly names: readonly string[];
  /** Runs of parameters with and without weight decay, in the order of memory. */
  readonly ranges: readonly ParamRange[];
  private readonly views = new Map<string, { value: Tensor; grad: Tensor | undefined }>();
  private readonly specOf: ReadonlyMap<string, ParamSpec>;
  private readonly buffers = new Map<string, Tensor>();
  private readonly zeros: Tensor | undefined;

  private constructor(
    readonly engine: Engine,
    /** Of parameters and buffers, as the model declares them. */
    readonly specs: readonly ParamSpec[],
    readonly buckets: readonly ParamBucket[],
    private readonly noDecayOf: NoDecay,
  ) {
    this.specOf = new Map(specs.map((spec) => [spec.name, spec]));
    this.names = specs.filter((spec) => !spec.buffer).map((spec) => spec.name);
    this.ranges = buckets.flatMap((bucket) => bucket.ranges);
    for (const { names, begins, values, grads } of buckets)
      for (const [i, name] of names.entries()) {
        const { shape } = this.specOf.get(name)!;
        this.views.set(name, {
          value: engine.view(values, begins[i]!, shape),
          grad: grads && engine.view(grads, begins[i]!, shape),
        });
      }
    if (buckets.some(({ grads }) => grads)) {
      const largest = Math.max(...buckets.map(({ size }) => size));
      this.zeros = engine.ops.fill({ shape: [Math.min(ZEROS, largest)] });
    }
  }

  /**
   * Copies the weights of `source` into flat tensors. Optional entries that it lacks start as the model declares them. Throws
   * CheckpointError where one is missing or has another shape.
   */
  static async create(
    engine: Engine,
    specs: readonly ParamSpec[],
    source: WeightSource,
    options: ParametersOptions = {},
  ): Promise<Parameters> {
    const { noDecay = () => false, grads = true, bucketElements = BUCKET_ELEMENTS, signal } = options;
    const made = Parameters.allocate(engine, specs, noDecay, grads, bucketElements);
    try {
      await made.fillFrom(source, signal);
    } catch (error) {
      made.dispose();
      throw error;
    }
    return made;
  }

  private static allocate(
    engine: Engine,
    specs: readonly ParamSpec[],
    noDecay: NoDecay,
    grads: boolean,
    bucketElements: number,
  ): Parameters {
    const { ops } = engine;
    const plans = planBuckets(
      specs.filter((spec) => !spec.buffer),
      noDecay,
      bucketElements,
    );
    const buckets = plans.map(
      (plan): ParamBucket => ({
        ...plan,
        values: ops.fill({ shape: [plan.size] }),
        grads: grads ? ops.fill({ shape: [plan.size] }) : undefined,
        offsets: engine.tensor(Int32Array.from([...plan.begins, plan.size]), [plan.names.length + 1]),
      }),
    );
    return new Parameters(engine, specs, buckets, noDecay);
  }

  /** Elements of all parameters. */
  get size(): number {
    return this.names.reduce((sum, name) => sum + this.get(name).size, 0);
  }

  /** The flat values [n] f32 of a model that fits one bucket; the space between parameters holds zeros. */
  get values(): Tensor {
    return this.only().values;
  }

  /** The flat gradients [n] f32 of a model that fits one bucket. Throws ArgumentError in a frozen set. */
  get grads(): Tensor {
    return this.only().grads ?? frozen();
  }

  /** First elements of all parameters in memory order and the end, [count + 1] i32, of a model that fits one bucket. */
  get offsets(): Tensor {
    return this.only().offsets;
  }

  has(name: string): boolean {
    return this.views.has(name);
  }

  /** The view of one parameter. Throws ArgumentError for an unknown name. */
  get(name: string): Tensor {
    return this.entry(name).value;
  }

  /** The view of its gradient. Throws ArgumentError for an unknown name and in a frozen set. */
  grad(name: string): Tensor {
    return this.entry(name).grad ?? frozen();
  }

  noDecay(name: string): boolean {
    return this.noDecayOf(name, this.get(name).shape);
  }

  /** A parameter or a buffer, for Module.bind; it stays the property of this object. */
  readonly take = (name: string): Tensor => {
    const view = this.views.get(name);
    if (view) return view.value;
    const spec = this.specOf.get(name);
    if (!spec) return this.get(name);
    let buffer = this.buffers.get(name);
    if (!buffer) {
      buffer = new InitSource([spec], 0).load(this.engine, name);
      this.buffers.set(name, buffer);
    }
    return buffer;
  };

  /** Replaces a buffer; the tensor becomes the property of this object. */
  setBuffer(name: string, tensor: Tensor): void {
    if (!this.specOf.get(name)?.buffer) throw new ArgumentError(`${JSON.stringify(name)} is no buffer of the model`);
    this.buffers.get(name)?.dispose();
    this.buffers.set(name, tensor);
  }

  /**
   * Binds the module's weights, packed from these f32 values to the dtype that `numerics` asks for; on a tape every parameter becomes a
   * leaf whose gradient is added to `grad(name)`, and packs live no longer than the product they are for.
   */
  bind(g: Graph, module: Bindable, numerics?: Numerics): void {
    const records = isRecorder(g);
    if (records) for (const { value, grad } of this.views.values()) g.watch(value, grad ?? frozen());
    module.bind(g.ops, this.take, { packOnUse: records, ...numerics });
  }

  /** Enqueues the clearing of all gradients; what is not finite is cleared as well. */
  zeroGrads(): void {
    const { engine, zeros } = this;
    if (!zeros) frozen();
    engine.scope(() => {
      for (const { grads, size } of this.buckets)
        for (let start = 0; start < size; start += zeros.size) {
          const src = size - start < zeros.size ? engine.view(zeros, 0, [size - start]) : zeros;
          engine.ops.writeSlice(grads!, src, { axis: 0, start });
        }
    });
  }

  /**
   * New room for all gradients, cleared: after a step that failed or was cancelled, whose error would stick to the old one. Views that
   * grad() and buckets gave before are disposed.
   */
  renewGrads(): void {
    const { engine } = this;
    if (engine.closed) return;
    for (const bucket of this.buckets as { -readonly [K in keyof ParamBucket]: ParamBucket[K] }[]) {
      if (!bucket.grads) frozen();
      bucket.grads.dispose();
      const grads = engine.ops.fill({ shape: [bucket.size] });
      bucket.grads = grads;
      for (const [i, name] of bucket.names.entries()) {
        const view = this.entry(name);
        view.grad?.dispose();
        view.grad = engine.view(grads, bucket.begins[i]!, view.value.shape);
      }
    }
  }

  /** A copy of the values with room of its own, by default without gradients. */
  clone(options: { grads?: boolean } = {}): Parameters {
    const { engine } = this;
    const copies = this.buckets.map(
      (bucket): ParamBucket => ({
        ...bucket,
        values: engine.ops.reshape(bucket.values, { shape: [bucket.size] }),
        grads: options.grads ? engine.ops.fill({ shape: [bucket.size] }) : undefined,
        offsets: engine.view(bucket.offsets, 0, bucket.offsets.shape),
      }),
    );
    const made = new Parameters(engine, this.specs, copies, this.noDecayOf);
    for (const [name, tensor] of this.buffers) made.buffers.set(name, engine.ops.reshape(tensor, { shape: [...tensor.shape] }));
    return made;
  }

  /** Overwrites values and buffers by those of `source`, in place; errors as in create. */
  async load(source: WeightSource, signal?: AbortSignal): Promise<void> {
    await this.fillFrom(source, signal);
  }

  /**
   * The state dict under the reference's names and in its order, buffers included. Tensors are live: they are read when their turn
   * comes.
   */
  stateDict(): Map<string, TensorSource> {
    return new Map(this.specs.map((spec) => [spec.name, this.stored(spec)]));
  }

  dispose(): void {
    for (const { value, grad } of this.views.values()) {
      value.dispose();
      grad?.dispose();
    }
    for (const { values, grads, offsets } of this.buckets) for (const tensor of [values, grads, offsets]) tensor?.dispose();
    for (const buffer of this.buffers.values()) buffer.dispose();
    this.buffers.clear();
    this.zeros?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private stored(spec: ParamSpec): TensorSource {
    const { name, shape, init } = spec;
    const view = this.views.get(name);
    if (view) return view.value;
    const dtype = spec.dtype ?? 'f32';
    const wide = (data: ArrayLike<number>) => (dtype === 'i64' ? BigInt64Array.from(Array.from(data, BigInt)) : Float32Array.from(data));
    const buffer = this.buffers.get(name);
    if (!buffer && init.kind === 'values') return { dtype, shape, data: () => wide(init.values()) };
    const tensor = this.take(name);
    return dtype === 'i64' ? { dtype, shape, data: async () => wide(await tensor.read()) } : tensor;
  }

  private async fillFrom(source: WeightSource, signal?: AbortSignal): Promise<void> {
    const fallback = new InitSource(this.specs, 0);
    for (const bucket of this.buckets)
      for (const [i, name] of bucket.names.entries()) {
        throwIfAborted(signal);
        await this.engine.throttle();
        const spec = this.specOf.get(name)!;
        const tensor = await this.loadOne(source, fallback, spec);
        this.engine.scope(() => {
          const flat = this.engine.view(tensor, 0, [tensor.size]);
          this.engine.ops.writeSlice(bucket.values, flat, { axis: 0, start: bucket.begins[i]! });
        });
        tensor.dispose();
      }
    for (const spec of this.specs) {
      if (!spec.buffer || !source.has(spec.name) || spec.init.kind === 'values') continue;
      this.setBuffer(spec.name, await this.loadOne(source, fallback, spec));
    }
  }

  private async loadOne(source: WeightSource, fallback: WeightSource, spec: ParamSpec): Promise<Tensor> {
    const { name, shape } = spec;
    const has = source.has(name);
    if (!has && !spec.optional)
      throw new CheckpointError(`${source.path}: ${name} [${shape}] is missing`, { file: source.path, key: name });
    const from = has ? source : fallback;
    const found = from.info(name).shape;
    if (!spec.anyShape && found.join() !== shape.join())
      throw new CheckpointError(`${source.path}: ${name} is [${found}], expected [${shape}]`, { file: source.path, key: name });
    return await from.load(this.engine, name, { dtype: 'f32' });
  }

  private entry(name: string): { value: Tensor; grad: Tensor | undefined } {
    const found = this.views.get(name);
    if (!found) throw new ArgumentError(`parameter ${JSON.stringify(name)} is unknown`);
    return found;
  }

  private only(): ParamBucket {
    if (this.buckets.length !== 1) throw new ArgumentError(`the parameters lie in ${this.buckets.length} flat tensors: use buckets`);
    return this.buckets[0]!;
  }
}

function frozen(): never {
  throw new ArgumentError('these parameters are frozen: they were made without gradients');
}
