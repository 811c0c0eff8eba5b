// Gradients of one op by its rule, and by central differences of its float64 reference definition.

import { Tape } from '../../ts/autograd/index.js';
import { resolveAttrs } from '../../ts/core/shapes.js';
import type { AttrValue, OpDecl } from '../../ts/core/types.js';
import type { Engine, Graph, Tensor } from '../../ts/engine/index.js';
import { camel, declarationOf } from '../parity/cases.js';
import { Draw } from '../parity/draw.js';
import { Args, type Reference, sizeOf, type Ten } from '../reference/kit.js';

/** An input: its shape, and how its values are drawn. */
export interface GradInput {
  readonly shape: readonly number[];
  readonly range?: readonly [number, number];
  /** Integers; they have no gradient. */
  readonly ints?: readonly number[];
  /** Given, but without gradient. */
  readonly fixed?: boolean;
  /** How linear and conv2d want it. */
  readonly pack?: 'linear_pack' | 'conv_pack';
}

export interface GradCase {
  readonly op: string;
  readonly inputs: Readonly<Record<string, GradInput>>;
  readonly attrs?: Readonly<Record<string, AttrValue>>;
  readonly tol?: number;
}

export type Gradients = Readonly<Record<string, Float64Array>>;

const STEP = 1e-6;

export function draw(name: string, { shape, range = [-1, 1], ints }: GradInput): Ten {
  if (ints) return { shape, data: Float64Array.from(ints) };
  const numbers = new Draw('grad', name);
  return { shape, data: Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(numbers.between(...range))) };
}

/** The name of a case for messages. */
export const label = (c: GradCase): string =>
  `${c.op} ${Object.entries(c.inputs)
    .map(([name, { shape }]) => `${name}[${shape}]`)
    .join(' ')} ${JSON.stringify(c.attrs ?? {})}`;

function drawn(c: GradCase): Record<string, Ten> {
  return Object.fromEntries(Object.entries(c.inputs).map(([name, input]) => [name, draw(`${label(c)} ${name}`, input)]));
}

const trained = (c: GradCase): string[] => Object.keys(c.inputs).filter((name) => !c.inputs[name]!.ints && !c.inputs[name]!.fixed);

function attributes(decl: OpDecl, c: GradCase): Record<string, AttrValue> {
  const attrs = { ...resolveAttrs(decl, c.attrs ?? {}) };
  for (const a of decl.attrs) if (a.type === 'f32') attrs[a.name] = Math.fround(attrs[a.name] as number);
  return attrs;
}

async function referenceOf(op: string): Promise<Reference> {
  return ((await import(new URL(`../reference/${op}.ts`, import.meta.url).href)) as { default: Reference }).default;
}

/** Slopes of the sum of output * weight. */
export async function byDifferences(c: GradCase): Promise<{ gradients: Gradients; output: Ten; weight: Ten }> {
  const decl = declarationOf(c.op);
  const reference = await referenceOf(c.op);
  const inputs = drawn(c);
  const attrs = attributes(decl, c);
  const name = decl.outputs[0]!.name;
  const run = (): Ten => reference(new Args(inputs, attrs)).tensors[name]!;
  const output = run();
  const weight = draw(`${label(c)} weight`, { shape: output.shape });
  const total = (): number => run().data.reduce((sum, y, i) => sum + y * weight.data[i]!, 0);
  const gradients: Record<string, Float64Array> = {};
  for (const key of trained(c)) {
    const { data } = inputs[key]!;
    gradients[key] = data.map((was, i) => {
      data[i] = was + STEP;
      const up = total();
      data[i] = was - STEP;
      const down = total();
      data[i] = was;
      return (up - down) / (2 * STEP);
    });
  }
  return { gradients, output, weight };
}

/** A call on a graph: tensors by input name, weights packed. */
export type Run = (g: Graph, inputs: Readonly<Record<string, Tensor>>, c: GradCase) => Tensor;

/** The op itself. */
export const asOp: Run = (g, inputs, c) => {
  const decl = declarationOf(c.op);
  const required = decl.inputs.filter((i) => !i.optional).map((i) => inputs[i.name]);
  const optional = Object.fromEntries(decl.inputs.filter((i) => i.optional && inputs[i.name]).map((i) => [i.name, inputs[i.name]]));
  const ops = g.ops as unknown as Record<string, (...args: unknown[]) => Tensor>;
  return ops[camel(c.op)]!.call(g.ops, ...required, { ...c.attrs, ...optional });
};

function upload(engine: Engine, { shape, data }: Ten, ints: boolean): Tensor {
  return engine.tensor(ints ? Int32Array.from(data) : Float32Array.from(data), shape);
}

/** Gradients of sum(output * weight) by a tape, and the output. `times` runs as many tapes that add to the same gradients. */
export async function byTape(
  engine: Engine,
  c: GradCase,
  weight: Ten,
  run: Run = asOp,
  times = 1,
): Promise<{ gradients: Gradients; output: Float64Array }> {
  const values = Object.entries(drawn(c)).map(([name, ten]) => [name, upload(engine, ten, c.inputs[name]!.ints !== undefined)] as const);
  const grads = new Map(trained(c).map((name) => [name, engine.ops.fill({ shape: [...c.inputs[name]!.shape] })]));
  let output = new Float64Array();
  for (let i = 0; i < times; i++) {
    using tape = new Tape(engine);
    const { y, loss } = tape.run(() => {
      for (const [name, tensor] of values) if (grads.has(name)) tape.watch(tensor, grads.get(name)!);
      const inputs = Object.fromEntries(values.map(([name, tensor]) => [name, packed(tape, tensor, c.inputs[name]!, c)]));
      const y = run(tape, inputs, c);
      const weighted = tape.ops.binary(y, upload(engine, weight, false), { fn: 'mul' });
      const flat = tape.ops.reshape(weighted, { shape: [weighted.size] });
      return { y, loss: tape.ops.sumTo(flat, { shape: [1] }) };
    });
    output = Float64Array.from(await y.read());
    await tape.backward(loss);
  }
  const gradients: Record<string, Float64Array> = {};
  for (const [name, grad] of grads) gradients[name] = Float64Array.from(await grad.read());
  for (const tensor of [...values.map(([, tensor]) => tensor), ...grads.values()]) tensor.dispose();
  return { gradients, output };
}

function packed(g: Graph, tensor: Tensor, input: GradInput, c: GradCase): Tensor {
  if (input.pack === 'linear_pack') return g.ops.linearPack(tensor);
  if (input.pack === 'conv_pack') return g.ops.convPack(tensor, { algo: (c.attrs?.algo as 'winograd2' | undefined) ?? 'direct' });
  return tensor;
}

/** Greatest difference, relative to the greatest wanted value (at least `floor`). */
export function distance(got: ArrayLike<number>, want: ArrayLike<number>, floor = 1e-3): number {
  if (got.length !== want.length) return Number.POSITIVE_INFINITY;
  let scale = floor;
  for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]!));
  let worst = 0;
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!) / scale;
    if (!(error <= worst)) worst = error;
  }
  return worst;
}
