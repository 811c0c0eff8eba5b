// driver: timeout=300
// Gradients through 16-bit activations against those of the f32 graph at the same values. Leaves are f32 and cast on the tape, weights are
// packed to 16 bits: what mixed-precision training does.
//
// Tolerance. Rounding to 16 bits moves a number by up to u of itself: f16 2^-11, bf16 2^-8. On the way there and back a value is rounded where an
// op gives its output, where the gradient of that output is given, where a rule reads an operand, and where it gives its own gradient:
// ROUNDINGS. Against the largest gradient of a tensor, or against 1, the size of the terms of sums that cancel, each counts about once in
// these cases: values, weights and slopes lie around 1, and what roundings of many terms add up to grows as the root of their number while
// the largest gradient does. Further parts of one call (activation, gate) multiply slopes below 1.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Tape } from '../../ts/autograd/index.js';
import { createEngine, type Engine, type Tensor } from '../../ts/engine/index.js';
import { declarationOf } from '../parity/cases.js';
import type { Ten } from '../reference/kit.js';
import { CASES } from './cases.js';
import { asOp, distance, draw, type GradCase, type GradInput, label } from './kit.js';

const test = suite('gradients in 16 bits');
const device = (process.env.NEXTSCALE_DEVICE ?? 'cpu') as 'cpu' | 'cuda';
type Narrow = 'f16' | 'bf16';
const NARROW: readonly Narrow[] = ['f16', 'bf16'];
const UNIT = { f16: 2 ** -11, bf16: 2 ** -8 } as const;
const ROUNDINGS = 4;
// The transformed products of Winograd are of rounded tiles whose entries reach 4 (tile 2) and 25 (tile 4) times the weights.
const winograd = (c: GradCase) => ({ direct: 1, winograd2: 4, winograd4: 25 })[(c.attrs?.algo as 'direct' | undefined) ?? 'direct'];
let engine: Engine;

test.before(async () => {
  engine = await createEngine({ device, threads: device === 'cpu' ? 2 : undefined });
});
test.after(async () => {
  await engine.close();
});

/** Inputs of an op that may have 16 bits, without packed weights. */
function narrowInputs(op: string): Set<string> {
  const { inputs } = declarationOf(op);
  const narrow = new Set<string>();
  for (const { name, dtypes } of inputs)
    if (typeof dtypes === 'string' ? narrow.has(dtypes.slice(1)) : dtypes.includes('bf16')) narrow.add(name);
  return narrow;
}

const hasDType = (op: string) => declarationOf(op).attrs.some(({ name }) => name === 'dtype');
const trains = (input: GradInput) => !input.ints && !input.fixed;
const upload = ({ shape, data }: Ten, ints: boolean) => engine.tensor(ints ? Int32Array.from(data) : Float32Array.from(data), shape);

/** Values that 16 bits hold exactly. */
async function rounded(ten: Ten, dtype: Narrow): Promise<Ten> {
  using wide = upload(ten, false);
  using same = engine.scope(() => engine.ops.cast(engine.ops.cast(wide, { dtype }), { dtype: 'f32' }));
  return { shape: ten.shape, data: Float64Array.from(await same.read()) };
}

interface Run {
  /** Of activations and packed weights. */
  readonly dtype: 'f32' | Narrow;
  /** Of the output, where the op can choose. */
  readonly out: 'f32' | Narrow;
  /** The whole call is computed again in the backward pass. */
  readonly checkpoint?: boolean;
}

async function gradients(
  c: GradCase,
  values: Record<string, Ten>,
  { dtype, out, checkpoint }: Run,
): Promise<Record<string, ArrayLike<number>>> {
  using scope = engine.openScope();
  const narrow = narrowInputs(c.op);
  const call: GradCase = hasDType(c.op) ? { ...c, attrs: { ...c.attrs, dtype: out } } : c;
  const leaves = new Map(
    Object.entries(values).map(([name, ten]) => [name, scope.run(() => upload(ten, c.inputs[name]!.ints !== undefined))]),
  );
  const grads = new Map(
    [...leaves].flatMap(([name, leaf]) =>
      trains(c.inputs[name]!) ? [[name, scope.run(() => engine.ops.fill({ shape: [...leaf.shape] }))] as const] : [],
    ),
  );
  using tape = new Tape(engine);
  const loss = tape.run(() => {
    for (const [name, grad] of grads) tape.watch(leaves.get(name)!, grad);
    const as = (name: string, leaf: Tensor): Tensor => {
      const { pack } = c.inputs[name]!;
      if (pack === 'linear_pack') return tape.ops.linearPack(leaf, { dtype });
      if (pack === 'conv_pack') return tape.ops.convPack(leaf, { dtype, algo: (c.attrs?.algo as 'winograd2' | undefined) ?? 'direct' });
      return narrow.has(name) && dtype !== 'f32' ? tape.ops.cast(leaf, { dtype }) : leaf;
    };
    const all = Object.fromEntries([...leaves].map(([name, leaf]) => [name, as(name, leaf)]));
    // Packs are read as they are: a part knows where they come from only then.
    const names = Object.keys(all).filter((name) => !c.inputs[name]!.pack);
    const part = (g: Parameters<typeof asOp>[0], list: readonly Tensor[]) =>
      asOp(g, { ...all, ...Object.fromEntries(names.map((name, i) => [name, list[i]!])) }, call);
    const inputs = names.map((name) => all[name]!);
    const y = checkpoint ? tape.checkpoint(inputs, part) : part(tape, inputs);
    const wide = y.dtype === 'f32' ? y : tape.ops.cast(y, { dtype: 'f32' });
    const weighted = tape.ops.binary(wide, upload(draw(`${label(c)} weight`, { shape: y.shape }), false), { fn: 'mul' });
    return tape.ops.sumTo(weighted, { shape: [1] });
  });
  await tape.backward(loss);
  return Object.fromEntries(
    await Promise.all([...grads].map(async ([name, grad]) => [name, (await grad.read()) as Float32Array] as const)),
  );
}

const cases = CASES.filter((c) => narrowInputs(c.op).size > 0);
// On an emulated device a few of each op are enough.
const few = (list: readonly GradCase[]) => (device === 'cpu' ? list : list.slice(0, 2));

for (const op of new Set(cases.map((c) => c.op)))
  test(op, async () => {
    for (const c of few(cases.filter((c) => c.op === op)))
      for (const dtype of NARROW) {
        const drawn = Object.entries(c.inputs).map(([name, input]) => [name, draw(`${label(c)} ${name}`, input)] as const);
        const values = Object.fromEntries(
          await Promise.all(drawn.map(async ([name, ten]) => [name, c.inputs[name]!.ints ? ten : await rounded(ten, dtype)] as const)),
        );
        const want = await gradients(c, values, { dtype: 'f32', out: 'f32' });
        const tol = UNIT[dtype] * ROUNDINGS * winograd(c);
        for (const out of hasDType(op) ? ([dtype, 'f32'] as const) : [dtype]) {
          const got = await gradients(c, values, { dtype, out });
          for (const [name, grad] of Object.entries(want)) {
            const error = distance(got[name]!, grad, 1);
            assert.ok(
              error <= tol,
              `${label(c)} ${dtype} to ${out}: the gradient of ${name} differs by ${(error / UNIT[dtype]).toFixed(1)} u`,
            );
          }
        }
        // A checkpointed call computes the same twice: the gradients have the same bits.
        const again = await gradients(c, values, { dtype, out: dtype, checkpoint: true });
        assert.equal(again, await gradients(c, values, { dtype, out: dtype }), `${label(c)} ${dtype}: checkpointed`);
      }
  });

test('the gradient of a tensor has its dtype, sums too; leaves of parameters are f32', async () => {
  using tape = new Tape(engine);
  const { x, half, twice, loss } = tape.run(() => {
    const x = tape.tensor(Float32Array.of(1, 2, 3, 4), [1, 1, 4]);
    tape.retain(x);
    const half = tape.ops.cast(x, { dtype: 'bf16' });
    tape.retain(half);
    const own = tape.tensor(Uint16Array.of(0x3f80, 0x4000, 0x4040, 0x4080), [1, 1, 4], 'bf16');
    tape.retain(own);
    const both = tape.ops.binary(half, own, { fn: 'mul' });
    const twice = tape.ops.binary(both, half, { fn: 'add' });
    tape.retain(twice);
    const wide = tape.ops.cast(twice, { dtype: 'f32' });
    return { x, half, twice, loss: tape.ops.sumTo(wide, { shape: [1] }) };
  });
  await tape.backward(loss);
  assert.equal(
    [x, half, twice].map((t) => tape.gradOf(t)!.dtype),
    ['f32', 'bf16', 'bf16'],
  );
  assert.equal([...(await tape.gradOf(x)!.read())], [2, 3, 4, 5]);
});

test('a 16-bit weight that is packed gets its gradient in 16 bits', async () => {
  using tape = new Tape(engine);
  const { w, loss } = tape.run(() => {
    const w = engine.ops.cast(tape.tensor(Float32Array.of(1, 2, 3, 4), [2, 2]), { dtype: 'f16' });
    tape.retain(w);
    const x = engine.ops.cast(tape.tensor(Float32Array.of(0.5, -1), [1, 1, 2]), { dtype: 'f16' });
    const y = tape.ops.linear(x, tape.ops.linearPack(w, { dtype: 'f16' }), { n: 2 });
    return { w, loss: tape.ops.sumTo(y, { shape: [1] }) };
  });
  await tape.backward(loss);
  const grad = tape.gradOf(w)!;
  assert.is(grad.dtype, 'f16');
  using wide = engine.ops.cast(grad, { dtype: 'f32' });
  assert.equal([...(await wide.read())], [0.5, -1, 0.5, -1]);
});

test('loss scaling keeps gradients that f16 would lose', async () => {
  const gradient = async (scale: number): Promise<number> => {
    using tape = new Tape(engine);
    const { x, loss } = tape.run(() => {
      const x = tape.tensor(Float32Array.of(1, 1), [1, 2]);
      tape.retain(x);
      const half = tape.ops.affine(tape.ops.cast(x, { dtype: 'f16' }), { mul: 1 });
      return { x, loss: tape.ops.sumTo(tape.ops.affine(tape.ops.cast(half, { dtype: 'f32' }), { mul: 1e-9 }), { shape: [1] }) };
    });
    await tape.backward(loss, { scale });
    return Number((await tape.gradOf(x)!.read())[0]) / scale;
  };
  assert.is(await gradient(1), 0);
  assert.ok(Math.abs((await gradient(2 ** 14)) / 1e-9 - 1) < 1e-2);
});

test.run();
