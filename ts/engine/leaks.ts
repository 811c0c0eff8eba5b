import type { Engine } from './engine.js';
import type { Tensor } from './tensor.js';

interface Watched {
  readonly slot: number;
  readonly generation: number;
  readonly made: string;
}

/** The net under dispose(): a tensor that is collected without it is released, and in debug mode one warning says where it came from. */
export interface LeakNet {
  watch(tensor: Tensor, made: string): void;
  unwatch(tensor: Tensor): void;
  close(): void;
}

export function makeLeakNet(engine: Engine, debug: boolean): LeakNet {
  const weak = new WeakRef(engine);
  let warned = false;
  let closed = false;
  const registry = new FinalizationRegistry<Watched>((w) => {
    const owner = weak.deref();
    if (closed || !owner) return;
    owner.releaseSlot(w.slot, w.generation);
    if (debug && !warned) {
      warned = true;
      owner.emit('warning', { message: `a tensor made by ${w.made} was collected without dispose(); the engine has released it` });
    }
  });
  return {
    watch: (t, made) => registry.register(t, { slot: t.slot, generation: t.generation, made }, t),
    unwatch: (t) => registry.unregister(t),
    close: () => {
      closed = true;
    },
  };
}
