// Small flat parameters and their gradients.
import type { Engine, Tensor } from '../../../ts/engine/index.js';
import { InitSource, Parameters, type ParamSpec } from '../../../ts/nn/index.js';
import { annealGroups, noDecayRule, type OptimizerStep } from '../../../ts/optim/index.js';

const init = { kind: 'normal', std: 1 } as const;

/** Two groups; the second weight has more than one block of 256 elements. */
export const SPECS: readonly ParamSpec[] = [
  { name: 'a.weight', shape: [5, 7], init },
  { name: 'a.bias', shape: [7], init },
  { name: 'b.weight', shape: [30, 20], init },
  { name: 'scale_mul', shape: [1, 3, 1], init },
];

export const makeParams = (engine: Engine, seed = 1, more: object = {}): Promise<Parameters> =>
  Parameters.create(engine, SPECS, new InitSource(SPECS, seed), { noDecay: noDecayRule(), ...more });

export const valuesOf = async (tensor: Tensor): Promise<Float32Array> => (await tensor.read()) as Float32Array;

/** Gradients of parameter `name` at a step: seeded, of very different sizes. */
export function gradient(name: string, size: number, step: number): Float32Array {
  const seed = [...name].reduce((sum, c) => sum * 31 + c.charCodeAt(0), step + 1) % 65_521;
  return Float32Array.from({ length: size }, (_, i) => Math.sin(seed + i * 12.9898) * 10 ** ((i % 5) - 3));
}

/** Overwrites all gradients by those of a step, times `scale`. */
export function setGradients(params: Parameters, step: number, scale = 1): void {
  const { engine } = params;
  engine.scope(() => {
    for (const name of params.names) {
      const grad = params.grad(name);
      const data = gradient(name, grad.size, step).map((value) => value * scale);
      engine.ops.writeSlice(grad, engine.tensor(data, grad.shape), { axis: 0, start: 0 });
    }
  });
}

export function setRates(stepper: OptimizerStep, lr: number, wd: number): void {
  annealGroups(stepper.groups, { lr, wd });
}

/** Everything the parameters hold, by name. */
export async function snapshot(params: Parameters): Promise<Map<string, Float32Array>> {
  const all = new Map<string, Float32Array>();
  for (const name of params.names) all.set(name, await valuesOf(params.get(name)));
  return all;
}

/** Largest difference of two snapshots. */
export function distance(a: ReadonlyMap<string, Float32Array>, b: ReadonlyMap<string, ArrayLike<number>>): number {
  let largest = 0;
  for (const [name, values] of a)
    for (const [i, value] of values.entries()) largest = Math.max(largest, Math.abs(value - b.get(name)![i]!));
  return largest;
}
