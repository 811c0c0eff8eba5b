import type { Tensor } from '../engine/index.js';
import type { Init } from './init.js';
import type { WeightReader } from './source.js';

/** One entry of the state dict that a module expects. */
export interface ParamSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly init: Init;
  /** Buffers that can be derived again: a checkpoint may lack them. */
  readonly optional?: boolean;
  /** Another number of rows is accepted (statistics that inference does not read). */
  readonly anyShape?: boolean;
  readonly dtype?: 'f32' | 'i64';
  /** Part of the state dict, but not trained. */
  readonly buffer?: true;
}

/**
 * A node of a model: declares its parameters under the reference's names when it is built, takes their tensors in `load`, and frees
 * them in `dispose`. Building a module touches no engine.
 */
export abstract class Module {
  private readonly children: Module[] = [];
  private readonly specs: ParamSpec[] = [];
  private readonly held: Tensor[] = [];

  constructor(readonly name: string) {}

  /** Parameters of this module and those below it, in the order of declaration. */
  parameters(): ParamSpec[] {
    return [...this.specs, ...this.children.flatMap((child) => child.parameters())];
  }

  /** Packs all weights onto the engine; source tensors are released one by one, so that memory peaks at the packed size. */
  async load(weights: WeightReader, onChild?: (done: number, total: number) => void): Promise<void> {
    await this.prepare(weights);
    for (const [i, child] of this.children.entries()) {
      await child.load(weights);
      onChild?.(i + 1, this.children.length);
    }
  }

  dispose(): void {
    for (const child of this.children) child.dispose();
    for (const tensor of this.held) tensor.dispose();
    this.held.length = 0;
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

  /** Keeps a tensor for as long as the module lives. */
  protected hold(tensor: Tensor): Tensor {
    this.held.push(tensor);
    return tensor;
  }

  /** Takes the module's own tensors. */
  protected async prepare(_weights: WeightReader): Promise<void> {}
}
