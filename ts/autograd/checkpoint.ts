import type { Engine, Graph, Tensor } from '../engine/index.js';
import { abandon, type Entry, walk } from './entry.js';
import { type Keeper, Recorder } from './recorder.js';
import type { Gradient, Value } from './value.js';

/** A part of the graph that is computed again in the backward pass (Chen et al. 2016, arXiv:1604.06174). */
export type Part<R extends Tensor> = (g: Graph, inputs: readonly Tensor[]) => R;

/** What fn computes, with no intermediate result kept. The result needs a gradient where anything that fn reads does. */
export function runPart<R extends Tensor>(keeper: Keeper, parent: Recorder, inputs: readonly Tensor[], fn: Part<R>): R {
  const { engine } = keeper;
  const dry = new Recorder(keeper, parent, true);
  const held = inputs.map((tensor) => keeper.keep(tensor));
  const y = engine.scope(() => fn(dry.graph, inputs));
  const value = dry.ownValueOf(y);
  if (value) {
    parent.setValue(y, value);
    parent.entries.push(
      new PartEntry(
        keeper,
        parent,
        fn as Part<Tensor>,
        held,
        inputs.map((tensor) => parent.valueOf(tensor)),
        value,
      ),
    );
  } else for (const tensor of held) tensor.dispose();
  return y;
}

class PartEntry implements Entry {
  private readonly engine: Engine;

  constructor(
    private readonly keeper: Keeper,
    private readonly parent: Recorder,
    private readonly fn: Part<Tensor>,
    private readonly held: readonly Tensor[],
    private readonly values: readonly (Value | undefined)[],
    readonly out: Value,
  ) {
    this.engine = keeper.engine;
  }

  *backward(gradient: Gradient): Generator<void> {
    // The tape itself takes no more records by now.
    const again = new Recorder({ ...this.keeper, check: () => this.keeper.check(false) }, this.parent);
    for (const [i, tensor] of this.held.entries()) {
      const value = this.values[i];
      if (value) again.setValue(tensor, value);
    }
    try {
      const y = this.engine.scope(() => this.fn(again.graph, this.held));
      const value = again.valueOf(y)!;
      y.dispose();
      value.give(this.engine, gradient.share(value.shape));
      yield* walk(again.entries);
    } finally {
      abandon(again.entries);
      again.dropPacks();
    }
  }

  release(): void {
    for (const tensor of this.held) tensor.dispose();
  }
}
