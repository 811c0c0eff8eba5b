// Weights packed as int8: the layout of the pack, and linear against float64 sums over the values that it stands for.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox } from '../../ts/core/philox.js';
import { createEngine, type Engine, ShapeError, type Tensor } from '../../ts/index.js';

const test = suite('int8');
const TOLERANCE = 4e-6; // of linear
let engines: Engine[] = [];
test.before(async () => {
  engines = await Promise.all([1, 2].map((threads) => createEngine({ threads })));
});
test.after(async () => {
  for (const engine of engines) await engine.close();
});

function draw(n: number, seed: number): Float32Array {
  const random = new Philox(seed);
  return Float32Array.from({ length: n }, () => 2 * random.uniform() - 1);
}

function halfEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}

/** Values and scales of [N, K], as the pack is defined. */
function quantized(w: Float32Array, n: number, k: number): { q: Int8Array; scale: Float32Array } {
  const q = new Int8Array(n * k);
  const scale = new Float32Array(n);
  for (let j = 0; j < n; j++) {
    const row = w.subarray(j * k, (j + 1) * k);
    scale[j] = Math.fround(row.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / 127);
    if (scale[j]! > 0) for (let i = 0; i < k; i++) q[j * k + i] = halfEven(Math.fround(row[i]! / scale[j]!));
  }
  return { q, scale };
}

const silu = (x: number) => x / (1 + Math.exp(-x));

test('a pack holds w / scale in panels of 16, then the scales', async () => {
  const [n, k] = [37, 19];
  const w = draw(n * k, 1);
  w.fill(0, 5 * k, 6 * k);
  w[7 * k + 3] = -4;
  const { q, scale } = quantized(w, n, k);
  for (const engine of engines) {
    const packed = engine.ops.linearPack(engine.tensor(w, [n, k]), { dtype: 'u8' });
    assert.equal([packed.shape, packed.dtype], [[3, k + 4, 16], 'u8']);
    const bytes = (await packed.read()) as Uint8Array;
    const scales = new Float32Array(bytes.slice(3 * k * 16).buffer);
    const values = new Int8Array(bytes.buffer, bytes.byteOffset, 3 * k * 16);
    for (let j = 0; j < 48; j++) {
      assert.is(scales[j], j < n ? scale[j] : 0, `scale ${j}`);
      for (let i = 0; i < k; i++) assert.is(values[(j >> 4) * k * 16 + i * 16 + (j & 15)], j < n ? q[j * k + i] : 0, `${j}, ${i}`);
    }
    assert.is(values[i16(7, 3, k)], -127);
    packed.dispose();
  }
});

const i16 = (j: number, i: number, k: number) => (j >> 4) * k * 16 + i * 16 + (j & 15);

const CASES = [
  { b: 1, l: 1, k: 64, n: 80 },
  { b: 2, l: 1, k: 1100, n: 33 },
  { b: 2, l: 9, k: 96, n: 40, gate: true, residual: true },
  { b: 3, l: 50, k: 130, n: 144, act: 'silu' as const },
  { b: 1, l: 257, k: 512, n: 128, residual: true },
  { b: 1, l: 4, k: 2100, n: 10 },
  { b: 1, l: 1, k: 1, n: 1 },
];

for (const [index, c] of CASES.entries())
  test(`linear [${c.b}, ${c.l}, ${c.k}] to ${c.n}`, async () => {
    const { b, l, k, n } = c;
    const [x, w, bias, gate, residual] = [b * l * k, n * k, n, b * 2 * n, b * l * n].map((size, i) => draw(size, 10 * index + i)) as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const { q, scale } = quantized(w, n, k);
    const results: Float32Array[] = [];
    for (const engine of engines) {
      const t = (data: Float32Array, ...shape: number[]): Tensor => engine.tensor(data, shape);
      const y = engine.scope(() =>
        engine.ops.linear(t(x, b, l, k), engine.ops.linearPack(t(w, n, k), { dtype: 'u8' }), {
          n,
          bias: t(bias, n),
          act: c.act ?? 'none',
          gate: c.gate ? t(gate, b, 2, n) : undefined,
          gateAt: c.gate ? 1 : 0,
          residual: c.residual ? t(residual, b, l, n) : undefined,
        }),
      );
      results.push((await y.read()) as Float32Array);
      y.dispose();
    }
    assert.equal(results[0], results[1], 'the same bits for 1 and 2 threads');
    let worst = 0;
    let largest = 0;
    for (let i = 0; i < b * l * n; i++) {
      const [row, j] = [Math.floor(i / n), i % n];
      let s = 0;
      for (let at = 0; at < k; at++) s += x[row * k + at]! * q[j * k + at]!;
      s = s * scale[j]! + bias[j]!;
      if (c.act) s = silu(s);
      if (c.gate) s *= gate[(Math.floor(row / l) * 2 + 1) * n + j]!;
      if (c.residual) s += residual[i]!;
      worst = Math.max(worst, Math.abs(results[0]![i]! - s));
      largest = Math.max(largest, Math.abs(s));
    }
    assert.ok(worst <= TOLERANCE * Math.max(1, largest), `error ${worst} of ${largest}`);
  });

test('16-bit activations and sources are read as they are', async () => {
  const engine = engines[1]!;
  const [k, n] = [96, 20];
  const w = engine.ops.cast(engine.tensor(draw(n * k, 3), [n, k]), { dtype: 'bf16' });
  const x = engine.ops.cast(engine.tensor(draw(2 * k, 4), [1, 2, k]), { dtype: 'f16' });
  const wide = (t: Tensor) => engine.ops.cast(t, { dtype: 'f32' });
  const narrow = engine.ops.linear(x, engine.ops.linearPack(w, { dtype: 'u8' }), { n, dtype: 'bf16' });
  const same = engine.ops.linear(wide(x), engine.ops.linearPack(wide(w), { dtype: 'u8' }), { n });
  assert.equal(await wide(narrow).read(), await wide(engine.ops.cast(same, { dtype: 'bf16' })).read());
});

test('a weight that is not finite makes its column NaN or infinite, and no other', async () => {
  const engine = engines[1]!;
  const w = draw(3 * 8, 5);
  w[8 + 2] = Number.NaN;
  w[16] = Number.POSITIVE_INFINITY;
  const y = engine.ops.linear(engine.tensor(draw(8, 6), [1, 1, 8]), engine.ops.linearPack(engine.tensor(w, [3, 8]), { dtype: 'u8' }), {
    n: 3,
  });
  assert.equal([...(await y.read())].map(Number.isFinite), [true, false, false]);
});

test('shapes that do not fit are refused', () => {
  const engine = engines[0]!;
  const w = engine.tensor(draw(16 * 8, 7), [16, 8]);
  const refused = (fn: () => unknown, pattern: RegExp) =>
    assert.throws(fn, (e: Error) => (e instanceof ShapeError || e.name === 'ArgumentError') && pattern.test(e.message));
  refused(() => engine.ops.linearPack(w, { dtype: 'u8', transpose: true }), /dtype/);
  const packed = engine.ops.linearPack(w, { dtype: 'u8' });
  refused(() => engine.ops.linear(engine.tensor(draw(12, 8), [1, 1, 12]), packed, { n: 16 }), /K is 12 in x and 8 in w/);
  const f32 = engine.ops.linearPack(w);
  refused(() => engine.ops.linear(engine.tensor(draw(4, 8), [1, 1, 4]), f32, { n: 16 }), /K is 4 in x and 8 in w/);
});

test.run();
