import type { Tensor } from '../engine/index.js';
import type { Ops } from '../gen/ops.js';
import type { Init } from './init.js';
import type { Numerics, Precision, WeightDType, WeightReader } from './source.js';

/** One entry of the state dict that a module expects. */
export interface ParamSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
  /** Part of the state dict that is not trained. */
  readonly buffer?: boolean;
  /** Buffers that can be derived again: a checkpoint may lack them. */
  readonly optional?: boolean;
  /** Another number of rows is accepted (statistics that inference does not read). */
  readonly anyShape?: boolean;
  readonly dtype?: 'f32' | 'i64';
  /** How the module wants it: as f32, as it is stored (weights that are packed), or not at all. Default: f32, buffers not at all. */
  readonly wanted?: 'f32' | 'stored' | 'no';
}

/** Hands out a weight by its full name; undefined for an optional one that does not exist. It stays the property of the giver. */
export type Take = (name: string) => Tensor | undefined;

const wantedAs = ({ wanted, buffer }: ParamSpec) => wanted ?? (buffer ? 'no' : 'f32');

/**
 * A node of a model: declares its parameters under the reference's names when it is built, takes their tensors in `load` or `bind`,
 * and frees what it made of them in `dispose`. Building a module touches no engine.
 */
export abstract class Module {
  private readonly children: Module[] = [];
  private readonly specs: ParamSpec[] = [];
  private readonly held: Tensor[] = [];
  private readonly used = new Set<Tensor>();
  private onlyF32 = false;
  /** Of the activations that this module hands on; set before `attach`. */
  protected precision: Precision = 'f32';
  /** Of the weights that it packs. */
  protected dtype: WeightDType = 'f32';
  /** Packs are made for a product and released after it. */
  protected packOnUse = false;

  constructor(readonly name: string) {}

  /** Keeps this module and those below it in f32, whatever the model is loaded or bound with. */
  inF32(): this {
    this.onlyF32 = true;
    return this;
  }

  /** Parameters of this module and those below it, in the order of declaration. */
  parameters(): ParamSpec[] {
    return [...this.specs, ...this.children.flatMap((child) => child.parameters())];
  }

  /** Packs all weights onto the engine; source tensors are released module by module, so that memory peaks at the packed size. */
  async load(given: WeightReader, onChild?: (done: number, total: number) => void): Promise<void> {
    const weights = this.onlyF32 ? given.inF32() : given;
    for (const [i, child] of this.children.entries()) {
      await child.load(weights);
      onChild?.(i + 1, this.children.length);
    }
    const sources = await this.sources(weights);
    this.settle(weights.numerics);
    this.release();
    try {
      this.attach(weights.engine.ops, (name) => sources.get(name));
    } finally {
      for (const source of sources.values()) {
        if (this.used.has(source)) this.held.push(source);
        else source.dispose();
      }
    }
  }

  /**
   * Makes this module and those below it compute with the weights that `take` gives, packed through `ops`: on a tape gradients flow
   * back to them. They must live as long as they are bound. What an earlier load or bind made is disposed. `precision` is the dtype of
   * the activations and, unless `dtype` says otherwise, of the packed weights; the weights that are given may be f32.
   */
  bind(ops: Ops<Tensor>, take: Take, given: Numerics = {}): void {
    const numerics = this.onlyF32 ? { packOnUse: given.packOnUse } : given;
    for (const child of this.children) child.bind(ops, take, numerics);
    this.settle(numerics);
    this.release();
    this.attach(ops, take);
  }

  dispose(): void {
    for (const child of this.children) child.dispose();
    this.release();
  }

  /** Runs fn with the packed weight; one that was packed for this use is released after it. */
  protected withPack(weight: Tensor, pack: (weight: Tensor) => Tensor, fn: (packed: Tensor) => Tensor): Tensor {
    if (!this.packOnUse) return fn(weight);
    const packed = pack(weight);
    try {
      return fn(packed);
    } finally {
      packed.dispose();
    }
  }

  protected add<M extends Module>(child: M): M {
    this.children.push(child);
    return child;
  }

  /** Declares one entry and returns its full name. */
  protected param(local: string, shape: readonly number[], init: Init, more: Partial<ParamSpec> = {}): string {
    const name = this.name ? `${this.name}.${local}` : local;
    this.specs.push({ name, shape, init, ...more });
    return name;
  }

  /** Keeps a tensor that the module has made for as long as it is bound. */
  protected hold(tensor: Tensor): Tensor {
    this.held.push(tensor);
    return tensor;
  }

  /** A weight that is used as it is, without a copy. */
  protected use(take: Take, name: string): Tensor {
    const tensor = take(name)!;
    this.used.add(tensor);
    return tensor;
  }

  /** Makes of the module's own weights what `forward` needs; the children are bound before. */
  protected attach(_ops: Ops<Tensor>, _take: Take): void {}

  private async sources(weights: WeightReader): Promise<Map<string, Tensor>> {
    const sources = new Map<string, Tensor>();
    try {
      for (const spec of this.specs) {
        const { name, optional } = spec;
        const as = wantedAs(spec);
        if (as === 'no' || (optional && !weights.has(name))) continue;
        sources.set(name, as === 'stored' ? await weights.take(name) : await weights.takeF32(name));
      }
    } catch (error) {
      for (const source of sources.values()) source.dispose();
      throw error;
    }
    return sources;
  }

  private settle({ precision = 'f32', dtype = precision, packOnUse = false }: Numerics): void {
    this.precision = precision;
    this.dtype = dtype;
    this.packOnUse = packOnUse;
  }

  private release(): void {
    for (const tensor of this.held) tensor.dispose();
    this.held.length = 0;
    this.used.clear();
  }
}
