// Random graphs with values that have several consumers, against central differences through the float64 reference definitions:
// what passes gradients on without copies must never let one consumer see another's. NEXTSCALE_SEED chooses other graphs.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../ts/autograd/index.js';
import { resolveAttrs } from '../../ts/core/shapes.js';
import type { AttrValue } from '../../ts/core/types.js';
import { createEngine, type Engine, type Graph, type Tensor } from '../../ts/engine/index.js';
import { camel, declarationOf } from '../parity/cases.js';
import { Draw } from '../parity/draw.js';
import { Args, type Reference, sizeOf, type Ten } from '../reference/kit.js';
import { distance } from './kit.js';

const seed = Number(process.env.NEXTSCALE_SEED ?? 20240403);
const graphs = suite('random graphs');
let engine: Engine;

graphs.before(async () => {
  console.log(`random graphs: seed ${seed}`);
  engine = await createEngine({ threads: 2 });
});
graphs.after(async () => {
  await engine.close();
});

interface Node {
  readonly op: string;
  /** Places of its operands in the list of values, by input name. */
  readonly from: Readonly<Record<string, number>>;
  readonly attrs: Readonly<Record<string, AttrValue>>;
}

const LEAVES: readonly (readonly number[])[] = [[2, 3], [2, 3], [3], [2, 1]];
const OPS_USED = ['unary', 'binary', 'affine', 'reshape', 'permute', 'slice', 'concat', 'reduce', 'sum_to', 'broadcast_to', 'softmax'];

const references = new Map<string, Reference>();
for (const op of OPS_USED)
  references.set(op, ((await import(new URL(`../reference/${op}.ts`, import.meta.url).href)) as { default: Reference }).default);

function evaluate(nodes: readonly Node[], leaves: readonly Ten[]): Ten[] {
  const values = [...leaves];
  for (const { op, from, attrs } of nodes) {
    const decl = declarationOf(op);
    const inputs = Object.fromEntries(Object.entries(from).map(([name, i]) => [name, values[i]!]));
    values.push(references.get(op)!(new Args(inputs, resolveAttrs(decl, attrs))).tensors[decl.outputs[0]!.name]!);
  }
  return values;
}

/** One more op on values of these shapes; undefined where the draw does not fit. */
function grow(shapes: readonly (readonly number[])[], draw: Draw): Node | undefined {
  const pick = () => draw.int(Math.max(0, shapes.length - 6), shapes.length);
  const op = OPS_USED[draw.int(0, OPS_USED.length)]!;
  const [x, other] = [pick(), pick()];
  const shape = shapes[x]!;
  const axis = draw.int(0, Math.max(1, shape.length));
  const one = (attrs: Node['attrs']): Node => ({ op, from: { x }, attrs });
  switch (op) {
    case 'unary':
      return one({ fn: (['silu', 'tanh', 'sigmoid', 'neg'] as const)[draw.int(0, 4)]! });
    case 'binary': {
      const [a, b] = [shape, shapes[other]!];
      const n = Math.min(a.length, b.length);
      for (let i = 1; i <= n; i++) if (a.at(-i) !== b.at(-i) && a.at(-i) !== 1 && b.at(-i) !== 1) return undefined;
      return { op, from: { a: x, b: other }, attrs: { fn: (['add', 'add', 'sub', 'mul'] as const)[draw.int(0, 4)]! } };
    }
    case 'affine':
      return one({ mul: [1, -0.5][draw.int(0, 2)]!, add: 0.25 });
    case 'reshape':
      return one({ shape: draw.int(0, 2) && shape.length < 4 ? [1, ...shape] : [sizeOf(shape)] });
    case 'permute':
      return one({ order: shape.map((_, i) => shape.length - 1 - i) });
    case 'slice':
      return shape[axis]! < 2 ? undefined : one({ axis, start: 1, size: shape[axis]! - 1 });
    case 'concat':
      return shape.length !== shapes[other]!.length || shape.some((d, i) => i !== axis && d !== shapes[other]![i]) || sizeOf(shape) > 24
        ? undefined
        : { op, from: { a: x, b: other }, attrs: { axis } };
    case 'reduce':
      return shape.length < 2 ? undefined : one({ fn: draw.int(0, 2) ? 'sum' : 'mean', axis });
    case 'sum_to':
      return one({ shape: shape.with(axis, 1) });
    case 'broadcast_to':
      return sizeOf(shape) > 12 || shape.length > 3 ? undefined : one({ shape: [2, ...shape] });
    default:
      return one({});
  }
}

function graph(draw: Draw): Node[] {
  const nodes: Node[] = [];
  const leaves = LEAVES.map((shape) => ({ shape, data: new Float64Array(sizeOf(shape)) }));
  for (let tries = 0; nodes.length < 14 && tries < 200; tries++) {
    const shapes = evaluate(nodes, leaves).map(({ shape }) => shape);
    const node = grow(shapes, draw);
    if (node) nodes.push(node);
  }
  return nodes;
}

function enqueue(g: Graph, nodes: readonly Node[], leaves: readonly Tensor[]): Tensor[] {
  const values = [...leaves];
  const ops = g.ops as unknown as Record<string, (...args: unknown[]) => Tensor>;
  for (const { op, from, attrs } of nodes) {
    const inputs = declarationOf(op).inputs.map(({ name }) => values[from[name]!]);
    values.push(ops[camel(op)]!.call(g.ops, ...inputs, attrs));
  }
  return values;
}

/** The loss is a weighted sum over every value that no op consumes, and two that some do. */
const weightOf = (i: number) => 0.5 + (i % 5) / 4;
const outputsOf = (nodes: readonly Node[]) => {
  const used = new Set(nodes.flatMap(({ from }) => Object.values(from)));
  const all = nodes.map((_, i) => i + LEAVES.length);
  return [...new Set([...all.filter((i) => !used.has(i)), ...all.slice(3, 5)])];
};

function lossOf(g: Graph, nodes: readonly Node[], outputs: readonly number[], leaves: readonly Tensor[]): Tensor {
  const { ops } = g;
  const values = enqueue(g, nodes, leaves);
  return outputs
    .map((o) => {
      const { size } = values[o]!;
      const weight = g.tensor(
        Float32Array.from({ length: size }, (_, i) => weightOf(i)),
        [size],
      );
      return ops.sumTo(ops.binary(ops.reshape(values[o]!, { shape: [size] }), weight, { fn: 'mul' }), { shape: [1] });
    })
    .reduce((a, b) => ops.binary(a, b, { fn: 'add' }));
}

async function train(
  nodes: readonly Node[],
  outputs: readonly number[],
  leaves: readonly Tensor[],
  part: boolean,
): Promise<Float32Array[]> {
  using tape = new Tape(engine);
  const loss = tape.run(() => {
    for (const leaf of leaves) tape.retain(leaf);
    if (part) return tape.checkpoint(leaves, (g, inputs) => lossOf(g, nodes, outputs, inputs));
    return lossOf(tape, nodes, outputs, leaves);
  });
  await tape.backward(loss);
  return Promise.all(leaves.map(async (leaf) => (await tape.gradOf(leaf)!.read()) as Float32Array));
}

for (let round = 0; round < 40; round++) {
  graphs(`graph ${round}`, async () => {
    const draw = new Draw(seed, 'graph', round);
    const nodes = graph(draw);
    const outputs = outputsOf(nodes);
    const leaves = LEAVES.map(
      (shape): Ten => ({
        shape,
        data: Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(draw.between(-1, 1))),
      }),
    );
    const total = () => {
      const values = evaluate(nodes, leaves);
      return outputs.reduce((sum, o) => sum + values[o]!.data.reduce((s, v, i) => s + v * weightOf(i), 0), 0);
    };
    const tensors = leaves.map(({ shape, data }) => engine.tensor(Float32Array.from(data), shape));
    const [gradients, again] = [await train(nodes, outputs, tensors, false), await train(nodes, outputs, tensors, true)];
    assert.equal(again, gradients, 'with a checkpoint');
    for (const [i, { data }] of leaves.entries()) {
      const want = data.map((was, k) => {
        data[k] = was + 1e-6;
        const up = total();
        data[k] = was - 1e-6;
        const down = total();
        data[k] = was;
        return (up - down) / 2e-6;
      });
      const error = distance(gradients[i]!, want, 0.1);
      assert.ok(error <= 1e-4, `leaf ${i} differs by ${error.toExponential(1)}: ${JSON.stringify(nodes)}`);
      tensors[i]!.dispose();
    }
  });
}

graphs.run();
