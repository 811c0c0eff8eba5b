import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { CheckpointError } from '../../../ts/core/errors.js';
import { createEngine, type Engine, type Graph, type Tensor } from '../../../ts/engine/index.js';
import { InitSource, Parameters, type ParamSpec, type WeightSource, zeros } from '../../../ts/nn/index.js';
import { planBuckets } from '../../../ts/nn/parameter-plan.js';

const test = suite('flat parameters');
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

const normal = { kind: 'normal', std: 1 } as const;
const SPECS: ParamSpec[] = [
  { name: 'a.weight', shape: [3, 7], init: normal },
  { name: 'a.bias', shape: [7], init: normal },
  {
    name: 'level',
    shape: [4],
    init: { kind: 'values', values: () => Int32Array.of(0, 1, 1, 2) },
    buffer: true,
    optional: true,
    dtype: 'i64',
  },
  { name: 'hits', shape: [2, 3], init: zeros, buffer: true, optional: true, anyShape: true },
  { name: 'b.weight', shape: [2, 2, 2], init: normal },
  { name: 'gamma', shape: [1, 5], init: normal },
];
const noDecay = (name: string, shape: readonly number[]) => shape.length === 1 || name === 'gamma';

const make = (options: object = {}) => Parameters.create(engine, SPECS, new InitSource(SPECS, 3), { noDecay, ...options });
const values = async (tensor: Tensor) => Array.from((await tensor.read()) as Float32Array);

test('parameters without decay lie first, each at a multiple of 16 elements; names keep the order of declaration', async () => {
  using params = await make();
  assert.equal(params.names, ['a.weight', 'a.bias', 'b.weight', 'gamma']);
  const [bucket] = params.buckets;
  assert.equal(bucket!.names, ['a.bias', 'gamma', 'a.weight', 'b.weight']);
  assert.equal(bucket!.begins, [0, 16, 32, 64]);
  assert.equal(bucket!.size, 80);
  assert.equal(params.ranges, [
    { bucket: 0, begin: 0, end: 32, decay: false },
    { bucket: 0, begin: 32, end: 80, decay: true },
  ]);
  assert.equal(await values(params.offsets), [0, 16, 32, 64, 80]);
  assert.is(params.size, 21 + 7 + 8 + 5);
  assert.ok(params.noDecay('gamma') && !params.noDecay('a.weight'));
});

test('views hold the values of the source, and the space between them zeros', async () => {
  using params = await make();
  const flat = await values(params.values);
  const used = new Set<number>();
  const source = new InitSource(SPECS, 3);
  for (const [i, name] of params.buckets[0]!.names.entries()) {
    using want = source.load(engine, name);
    const begin = params.buckets[0]!.begins[i]!;
    const expected = await values(want);
    assert.equal(await values(params.get(name)), expected);
    assert.equal(flat.slice(begin, begin + expected.length), expected);
    for (let k = 0; k < expected.length; k++) used.add(begin + k);
  }
  assert.ok(flat.every((value, i) => used.has(i) || value === 0));
  assert.equal(params.get('a.weight').shape, [3, 7]);
});

test('gradients are cleared, NaN included, and only through their views', async () => {
  using params = await make();
  engine.ops.writeSlice(params.grad('a.bias'), engine.tensor(new Float32Array(7).fill(Number.NaN), [7]), { axis: 0, start: 0 });
  engine.ops.accumulate(params.grad('b.weight'), params.get('b.weight'));
  const before = await values(params.grads);
  assert.ok(Number.isNaN(before[3]!) && before[64] !== 0 && before[31] === 0);
  params.zeroGrads();
  assert.ok((await values(params.grads)).every((value) => value === 0));
});

test('several flat tensors where one would be too large', async () => {
  using params = await make({ bucketElements: 48 });
  assert.equal(
    params.buckets.map(({ names, size }) => [names, size]),
    [
      [['a.bias', 'gamma'], 32],
      [['a.weight', 'b.weight'], 48],
    ],
  );
  assert.equal(params.ranges, [
    { bucket: 0, begin: 0, end: 32, decay: false },
    { bucket: 1, begin: 0, end: 48, decay: true },
  ]);
  assert.throws(() => params.values, /2 flat tensors/);
  using whole = await make();
  for (const name of params.names) assert.equal(await values(params.get(name)), await values(whole.get(name)));
  assert.is(planBuckets(SPECS, noDecay, 1).length, SPECS.length);
});

test('the state dict has all entries in order, buffers in their stored type, and loads again', async () => {
  using params = await make();
  const dict = params.stateDict();
  assert.equal(
    [...dict.keys()],
    SPECS.map(({ name }) => name),
  );
  const level = dict.get('level')!;
  assert.ok('data' in level && level.dtype === 'i64' && typeof level.data === 'function');
  assert.equal(await (level.data as () => unknown)(), BigInt64Array.of(0n, 1n, 1n, 2n));
  using other = await Parameters.create(engine, SPECS, new InitSource(SPECS, 4), { noDecay });
  const view = other.get('gamma');
  await other.load(new InitSource(SPECS, 3));
  assert.equal(await values(view), await values(params.get('gamma')));
  assert.equal(await values(other.values), await values(params.values));
});

test('a copy has room of its own', async () => {
  using params = await make();
  using copy = params.clone();
  const before = await values(params.get('b.weight'));
  engine.ops.accumulate(params.get('b.weight'), params.get('b.weight'));
  assert.equal(await values(copy.get('b.weight')), before);
  assert.not.equal(await values(params.get('b.weight')), before);
  assert.throws(() => copy.grad('gamma'), /frozen/);
  assert.throws(() => copy.zeroGrads(), /frozen/);
});

test('bind watches every parameter on a tape and hands out parameters and buffers', async () => {
  using params = await make();
  const watched: [Tensor, Tensor][] = [];
  const tape = { ops: engine.ops, scope: engine.scope, tensor: engine.tensor, watch: (t: Tensor, g: Tensor) => watched.push([t, g]) };
  const taken: Tensor[] = [];
  const module = { bind: (_ops: unknown, take: (name: string) => Tensor) => taken.push(take('gamma'), take('hits'), take('level')) };
  params.bind(tape as unknown as Graph, module);
  assert.is(watched.length, 4);
  assert.ok(watched.some(([t, g]) => t === params.get('gamma') && g === params.grad('gamma')));
  assert.is(taken[0], params.get('gamma'));
  assert.equal(taken[1]!.shape, [2, 3]);
  assert.equal(Array.from((await taken[2]!.read()) as Int32Array), [0, 1, 1, 2]);
  watched.length = 0;
  params.bind(engine, module);
  assert.is(watched.length, 0);
});

test('wrong names and shapes are refused', async () => {
  using params = await make();
  assert.throws(() => params.get('hits'), /"hits" is unknown/);
  assert.throws(() => params.take('nothing'), /unknown/);
  assert.throws(() => planBuckets([], noDecay), /without parameters/);
  const never = (): never => {
    throw new Error('nothing is asked of this source');
  };
  const lacking: WeightSource = {
    path: 'some file',
    keys: () => [],
    has: () => false,
    info: never,
    load: never,
  };
  await Parameters.create(engine, SPECS, lacking).then(
    () => assert.unreachable(),
    (error: unknown) => assert.ok(error instanceof CheckpointError && /a\.weight \[3,7\] is missing/.test(error.message)),
  );
  const other = new InitSource(
    SPECS.map((spec) => ({ ...spec, shape: [2] })),
    1,
  );
  await Parameters.create(engine, SPECS, other).then(
    () => assert.unreachable(),
    (error: unknown) => assert.match(String(error), /a\.weight is \[2\], expected \[3,7\]/),
  );
});

test('a late error sticks to the gradients until they are renewed', async () => {
  using params = await make();
  const failing = () =>
    engine.scope(() =>
      engine.ops.crossEntropy(engine.ops.fill({ shape: [7, 2] }), engine.ops.fill({ shape: [7], dtype: 'i32', value: 9 })),
    );
  using wrong = failing();
  engine.ops.accumulate(params.grad('a.bias'), wrong);
  params.zeroGrads();
  await params.grads.read().then(
    () => assert.unreachable(),
    (error: Error) => assert.match(error.message, /target\[0\] is 9/),
  );
  const old = params.grad('gamma');
  params.renewGrads();
  assert.equal(await values(params.grads), new Array(80).fill(0));
  engine.ops.accumulate(params.grad('gamma'), engine.ops.fill({ shape: [1, 5], value: 2 }), {});
  assert.equal((await values(params.grads)).slice(16, 21), [2, 2, 2, 2, 2]);
  assert.ok(old.disposed);
});

test('nothing is left on the engine after dispose', async () => {
  await engine.flush();
  const { tensors } = engine.memory();
  const params = await make();
  params.take('hits');
  params.zeroGrads();
  params.renewGrads();
  const copy = params.clone({ grads: true });
  copy.dispose();
  params.dispose();
  await engine.flush();
  assert.is(engine.memory().tensors, tensors);
});

test.run();
