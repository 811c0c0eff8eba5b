import type { Engine } from './engine.js';
import type { Tensor } from './tensor.js';

interface Watched {
  /** Slot to generation. */
  readonly slots: ReadonlyMap<number, number>;
  readonly capture?: number;
  readonly what: string;
}

/**
 * The net under dispose() and Scope.close(): what is collected without them is released, and in debug mode one warning says where it
 * came from. Tensors of a scope are watched through it, since registering each of them keeps it past V8's young generation.
 */
export interface LeakNet {
  watch(tensor: Tensor, what: string): void;
  watchScope(scope: object, slots: ReadonlyMap<number, number>): void;
  watchCapture(capture: object, id: number): void;
  unwatch(watched: object): void;
  close(): void;
}

export function makeLeakNet(engine: Engine, debug: boolean): LeakNet {
  const weak = new WeakRef(engine);
  let warned = false;
  let closed = false;
  const registry = new FinalizationRegistry<Watched>((w) => {
    const owner = weak.deref();
    if (closed || !owner) return;
    for (const [slot, generation] of w.slots) owner.releaseSlot(slot, generation);
    if (w.capture !== undefined) owner.dropCapture(w.capture);
    if (debug && !warned && (w.slots.size > 0 || w.capture !== undefined)) {
      warned = true;
      owner.emit('warning', { message: `${w.what}; the engine has released it` });
    }
  });
  return {
    watch: (t, what) =>
      registry.register(t, { slots: new Map([[t.slot, t.generation]]), what: `a tensor ${what} was collected without dispose()` }, t),
    watchScope: (scope, slots) => registry.register(scope, { slots, what: 'a scope was collected without close()' }, scope),
    watchCapture: (capture, id) =>
      registry.register(capture, { slots: new Map(), capture: id, what: 'a capture was collected without dispose()' }, capture),
    unwatch: (watched) => {
      registry.unregister(watched);
    },
    close: () => {
      closed = true;
    },
  };
}
