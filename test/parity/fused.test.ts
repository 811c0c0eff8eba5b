// driver: timeout=300
// Fused ops against their unfused compositions on the engine, and one item alone against the same item inside a batch. NEXTSCALE_DEVICE
// chooses the device.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Engine, Tensor } from '../../ts/engine/index.js';
import { device, openDevice } from './device.js';
import { Draw } from './draw.js';

const seed = Number(process.env.NEXTSCALE_SEED ?? 20240403);
const tests = suite('fused');
const { engines, missing } = await openDevice([2]);
const engine = engines[0] as Engine;
const fused = missing ? tests.skip : tests;
/** Both kernels round the product before the sum (cuda/common/exact.h), and the emulation gives 0; room for compilers of GPUs, which may contract. */
const CONTRACTED = device === 'cpu' ? 0 : 1e-6;

tests.before(() => console.log(`fused: seed ${seed}, device ${device}${missing ? `: ${missing}` : ''}`));
tests.after(async () => {
  await engine?.close();
});

const size = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

function noise(name: string, shape: readonly number[], lo = -1, hi = 1): Tensor {
  const draw = new Draw(seed, name);
  return engine.tensor(
    Float32Array.from({ length: size(shape) }, () => draw.between(lo, hi)),
    shape,
  );
}

const ints = (values: readonly number[], shape: readonly number[]): Tensor => engine.tensor(Int32Array.from(values), shape);

async function equal(a: Tensor, b: Tensor, tolerance: number): Promise<void> {
  assert.equal(a.shape, b.shape);
  const [x, y] = [await a.read(), await b.read()];
  let scale = 1;
  for (const v of y) scale = Math.max(scale, Math.abs(v));
  let worst = 0;
  x.forEach((v, i) => {
    worst = Math.max(worst, Number.isFinite(v) ? Math.abs(v - (y[i] as number)) / scale : Number.POSITIVE_INFINITY);
  });
  assert.ok(worst <= tolerance, `differs by ${worst.toExponential(2)}, tolerance ${tolerance}`);
}

/** A linear layer from matmul and elementwise ops; w is [N,K]. */
function plainLinear(x: Tensor, w: Tensor, bias: Tensor): Tensor {
  const { ops } = engine;
  const [B, l, K] = x.shape as [number, number, number];
  const n = w.shape[0] as number;
  const rows = ops.reshape(x, { shape: [1, B * l, K] });
  const y = ops.matmul(rows, ops.reshape(w, { shape: [1, n, K] }), { transB: true });
  return ops.binary(ops.reshape(y, { shape: [B, l, n] }), bias, { fn: 'add' });
}

for (const act of ['none', 'gelu', 'silu'] as const) {
  fused(`linear with ${act}, gate and residual`, async () => {
    const { ops } = engine;
    const [B, l, K, n] = [2, 37, 96, 72];
    const [x, w, bias] = [noise('x', [B, l, K]), noise('w', [n, K], -0.1, 0.1), noise('bias', [n])];
    const [gate, residual] = [noise('gate', [B, 6, n]), noise('residual', [B, l, n])];
    const got = ops.linear(x, ops.linearPack(w), { n, bias, gate, gateAt: 3, residual, act });
    const y = plainLinear(x, w, bias);
    const acted = act === 'none' ? y : ops.unary(y, { fn: act });
    const row = ops.slice(gate, { axis: 1, start: 3, size: 1 });
    await equal(got, ops.binary(residual, ops.binary(row, acted, { fn: 'mul' }), { fn: 'add' }), 2e-6);
  });
}

fused('linear with gate and residual has the bits of gate_residual', async () => {
  const { ops } = engine;
  const [B, l, K, n] = [2, 37, 96, 72];
  const [x, w, bias] = [noise('x', [B, l, K]), ops.linearPack(noise('w', [n, K], -0.1, 0.1)), noise('bias', [n])];
  const [gate, residual] = [noise('gate', [B, 6, n]), noise('residual', [B, l, n])];
  const got = ops.linear(x, w, { n, bias, gate, gateAt: 3, residual, act: 'gelu' });
  await equal(got, ops.gateResidual(ops.linear(x, w, { n, bias, act: 'gelu' }), gate, { gateAt: 3, residual }), CONTRACTED);
});

fused('gate_residual_grad', async () => {
  const { ops } = engine;
  const [x, dy, gate, dGate] = [noise('x', [2, 150, 37]), noise('dy', [2, 150, 37]), noise('gate', [2, 6, 37]), noise('dGate', [2, 6, 37])];
  const row = (t: Tensor): Tensor => ops.slice(t, { axis: 1, start: 3, size: 1 });
  const want = ops.binary(row(dGate), ops.sumTo(ops.binary(x, dy, { fn: 'mul' }), { shape: [2, 1, 37] }), { fn: 'add' });
  await equal(ops.gateResidualGrad(x, dy, gate, { gateAt: 3, dGate }), ops.binary(dy, row(gate), { fn: 'mul' }), CONTRACTED);
  await equal(row(dGate), want, 1e-6);
});

fused('pair_loss', async () => {
  const { ops } = engine;
  const [x, y] = [noise('x', [5, 999]), noise('y', [5, 999])];
  const diff = ops.binary(x, y, { fn: 'sub' });
  for (const [kind, fn] of [
    ['l1', 'abs'],
    ['l2', 'square'],
  ] as const) {
    const mean = ops.affine(ops.sumTo(ops.unary(diff, { fn }), { shape: [1] }), { mul: 1 / (5 * 999) });
    await equal(ops.pairLoss(x, y, { kind }), mean, 1e-6);
  }
});

fused('layer_norm with modulation', async () => {
  const { ops } = engine;
  const [x, mod] = [noise('x', [3, 11, 200], -4, 5), noise('mod', [3, 6, 200])];
  const scale = ops.affine(ops.slice(mod, { axis: 1, start: 2, size: 1 }), { add: 1 });
  const shift = ops.slice(mod, { axis: 1, start: 4, size: 1 });
  const want = ops.binary(ops.binary(ops.layerNorm(x), scale, { fn: 'mul' }), shift, { fn: 'add' });
  await equal(ops.layerNorm(x, { mod, scaleAt: 2, shiftAt: 4 }), want, 1e-6);
});

fused('group_norm with silu', async () => {
  const { ops } = engine;
  const [x, gamma, beta] = [noise('x', [2, 9, 7, 96], -3, 5), noise('gamma', [96]), noise('beta', [96])];
  await equal(ops.groupNorm(x, gamma, beta, { silu: true }), ops.unary(ops.groupNorm(x, gamma, beta), { fn: 'silu' }), 1e-6);
});

/** Attention from permute, l2_normalize, matmul and softmax; the mask is added to the scores. */
function plainAttention(qkv: Tensor, heads: number, scale: number, mul: Tensor | undefined, mask: Tensor | undefined): Tensor {
  const { ops } = engine;
  const [B, l, wide] = qkv.shape as [number, number, number];
  const c = wide / 3 / heads;
  const split = ops.permute(ops.reshape(qkv, { shape: [B, l, 3, heads, c] }), { order: [2, 0, 3, 1, 4] });
  const part = (i: number): Tensor => ops.reshape(ops.slice(split, { axis: 0, start: i, size: 1 }), { shape: [B, heads, l, c] });
  let [q, k] = [part(0), part(1)];
  if (mul) {
    k = ops.l2Normalize(k);
    q = ops.binary(ops.l2Normalize(q), ops.reshape(mul, { shape: [heads, 1, 1] }), { fn: 'mul' });
  }
  const flat = (t: Tensor): Tensor => ops.reshape(t, { shape: [B * heads, l, c] });
  let scores = ops.matmul(flat(q), flat(k), { transB: true, alpha: scale });
  if (mask) scores = ops.binary(scores, mask, { fn: 'add' });
  const y = ops.reshape(ops.matmul(ops.softmax(scores), flat(part(2))), { shape: [B, heads, l, c] });
  return ops.reshape(ops.permute(y, { order: [0, 2, 1, 3] }), { shape: [B, l, heads * c] });
}

const LEVELS = [1, 4, 9, 16];

function blockCausal(): { visible: number[]; mask: Float32Array; l: number } {
  let seen = 0;
  const visible = LEVELS.flatMap((n) => {
    seen += n;
    return new Array<number>(n).fill(seen);
  });
  const l = seen;
  return { visible, l, mask: Float32Array.from({ length: l * l }, (_, i) => (i % l < (visible[Math.floor(i / l)] as number) ? 0 : -1e30)) };
}

fused('attention from matmul and softmax', async () => {
  const { ops } = engine;
  const { visible, mask, l } = blockCausal();
  for (const [heads, width] of [
    [2, 64],
    [3, 24],
  ] as const) {
    const qkv = noise('qkv', [2, l, 3 * heads * width], -2, 2);
    const maskT = engine.tensor(mask, [1, l, l]);
    const seen = ints(visible, [l]);
    const scale = Math.fround(1 / Math.sqrt(width));
    await equal(ops.attention(qkv, { heads, width, scale }), plainAttention(qkv, heads, scale, undefined, undefined), 3e-6);
    await equal(ops.attention(qkv, { heads, width, scale, visible: seen }), plainAttention(qkv, heads, scale, undefined, maskT), 3e-6);
    const scaleMul = noise('scaleMul', [heads], 0, 2);
    const want = plainAttention(qkv, heads, 1, ops.unary(scaleMul, { fn: 'exp' }), maskT);
    await equal(ops.attention(qkv, { heads, width, scaleMul, visible: seen }), want, 3e-6);
    const capped = ops.unary(ops.affine(scaleMul, { hi: 0.75 }), { fn: 'exp' });
    await equal(ops.attention(qkv, { heads, width, scaleMul, maxScaleMul: 0.75 }), plainAttention(qkv, heads, 1, capped, undefined), 3e-6);
  }
});

fused('attention level by level over a cache equals block-causal attention', async () => {
  const { ops } = engine;
  const { visible, l } = blockCausal();
  const [heads, width, B] = [2, 64, 2];
  const qkv = noise('qkv', [B, l, 3 * heads * width], -2, 2);
  const scaleMul = noise('scaleMul', [heads], 0, 2);
  const whole = ops.attention(qkv, { heads, width, scaleMul, visible: ints(visible, [l]) });
  const cache = (): Tensor => ops.fill({ shape: [B, heads, l, width], value: 9 });
  const [kCache, vCache] = [cache(), cache()];
  let pos = 0;
  for (const [level, n] of LEVELS.entries()) {
    const append = level < LEVELS.length - 1;
    const part = ops.slice(qkv, { axis: 1, start: pos, size: n });
    const y = ops.attention(part, { heads, width, scaleMul, kCache, vCache, pos, append });
    await equal(y, ops.slice(whole, { axis: 1, start: pos, size: n }), 1e-6);
    pos += n;
  }
});

for (const algo of ['winograd2', 'winograd4'] as const) {
  fused(`conv2d ${algo} equals direct`, async () => {
    const { ops } = engine;
    for (const [h, wide, I, o, upsample] of [
      [16, 16, 48, 40, 1],
      [7, 9, 20, 33, 1],
      [5, 6, 16, 16, 2],
    ] as const) {
      const [x, w] = [noise('x', [2, h, wide, I]), noise('w', [o, I, 3, 3], -0.2, 0.2)];
      const [bias, residual] = [noise('bias', [o]), noise('residual', [2, h * upsample, wide * upsample, o])];
      const direct = ops.conv2d(x, ops.convPack(w), { o, bias, residual, upsample });
      const fast = ops.conv2d(x, ops.convPack(w, { algo }), { o, bias, residual, upsample, algo });
      await equal(fast, direct, algo === 'winograd2' ? 4e-6 : 3e-5);
    }
  });
}

for (const [dtype, tolerance] of [
  ['f16', 2e-3],
  ['bf16', 1.6e-2],
] as const) {
  fused(`conv2d winograd with weights transformed to ${dtype}`, async () => {
    const { ops } = engine;
    const [x, w] = [noise('x', [1, 11, 14, 24]), noise('w', [20, 24, 3, 3], -0.2, 0.2)];
    const direct = ops.conv2d(x, ops.convPack(w), { o: 20 });
    // F(4,3) multiplies the rounding of its weights about fivefold.
    for (const [algo, factor] of [
      ['winograd2', 1],
      ['winograd4', 6],
    ] as const) {
      await equal(ops.conv2d(x, ops.convPack(w, { algo, dtype }), { o: 20, algo }), direct, factor * tolerance);
    }
  });
}

fused('conv2d with upsample and mixed residual', async () => {
  const { ops } = engine;
  const [x, w, bias, residual] = [noise('x', [1, 6, 5, 12]), noise('w', [18, 12, 3, 3]), noise('bias', [18]), noise('r', [1, 12, 10, 18])];
  const packed = ops.convPack(w);
  const up = ops.interpolate(x, { mode: 'nearest', outH: 12, outW: 10 });
  const want = ops.binary(ops.affine(ops.conv2d(up, packed, { o: 18, bias }), { mul: 0.5 }), ops.affine(residual, { mul: 0.25 }), {
    fn: 'add',
  });
  await equal(ops.conv2d(x, packed, { o: 18, bias, residual, upsample: 2, alpha: 0.5, beta: 0.25 }), want, 2e-6);
});

fused('sample_cfg draws what its four steps draw', async () => {
  const { ops } = engine;
  const [B, l, V] = [3, 40, 1000];
  const logits = noise('logits', [2 * B, l, V], -6, 6);
  const t = engine.tensor(Float32Array.from([0, 1.5, 4]), [B]);
  const [topK, topP] = [ints([0, 900, 20], [B]), engine.tensor(Float32Array.from([0.95, 0, 0.8]), [B])];
  const seeds = ints([1, 0, 0, 2, 7, 1, -3, 9, 5], [B, 3]);
  const kept = ops.truncateLogits(ops.cfgMix(logits, t), topK, topP);
  const want = await ops.multinomial(ops.softmax(kept), seeds, { scale: 4 }).read();
  assert.equal(await ops.sampleCfg(logits, t, topK, topP, seeds, { scale: 4 }).read(), want);
  assert.ok(new Set(want).size > 20, 'the draws differ');
});

fused('gumbel_softmax with given noise', async () => {
  const { ops } = engine;
  const [logits, gumbel] = [noise('logits', [2, 5, 130], -4, 4), noise('gumbel', [2, 5, 130], -1, 6)];
  const sum = ops.binary(ops.affine(logits, { mul: 1.5 }), gumbel, { fn: 'add' });
  await equal(ops.gumbelSoftmax(logits, { gumbel, mul: 1.5, tau: 0.5 }), ops.softmax(sum, { scale: 2 }), 3e-6);
});

fused('vq_lookup finds the smallest distance', async () => {
  const { ops } = engine;
  const [z, codes] = [noise('z', [50, 32]), noise('codes', [700, 32])];
  const cross = ops.matmul(ops.reshape(z, { shape: [1, 50, 32] }), ops.reshape(codes, { shape: [1, 700, 32] }), { transB: true });
  const square = ops.reduce(ops.unary(codes, { fn: 'square' }), { fn: 'sum' });
  const score = ops.binary(ops.affine(cross, { mul: 2 }), square, { fn: 'sub' });
  const want = await ops.reshape(ops.reduce(score, { fn: 'argmax' }), { shape: [50] }).read();
  assert.equal(await ops.vqLookup(z, codes).read(), want);
  const unit = ops.matmul(
    ops.reshape(ops.l2Normalize(z), { shape: [1, 50, 32] }),
    ops.reshape(ops.l2Normalize(codes), { shape: [1, 700, 32] }),
    { transB: true },
  );
  assert.equal(
    await ops.vqLookup(z, codes, { cosine: true }).read(),
    await ops.reshape(ops.reduce(unit, { fn: 'argmax' }), { shape: [50] }).read(),
  );
});

/** The op on a batch of three and on its last item alone; x is the only input with a batch dim. */
const BATCHED: Readonly<Record<string, { shape: readonly number[]; run: (x: Tensor) => Tensor }>> = {
  'linear, 1 row of 3': {
    shape: [3, 1, 300],
    run: (x) => engine.ops.linear(x, engine.ops.linearPack(noise('w', [70, 300])), { n: 70, bias: noise('b', [70]), act: 'gelu' }),
  },
  'linear, 50 rows of 150': {
    shape: [3, 50, 130],
    run: (x) => engine.ops.linear(x, engine.ops.linearPack(noise('w', [144, 130])), { n: 144 }),
  },
  'linear f16, 7 rows of 21': {
    shape: [3, 7, 513],
    run: (x) => engine.ops.linear(x, engine.ops.linearPack(noise('w', [33, 513]), { dtype: 'f16' }), { n: 33 }),
  },
  matmul: { shape: [3, 11, 40], run: (x) => engine.ops.matmul(x, x, { transB: true }) },
  'conv2d direct': { shape: [3, 7, 9, 20], run: (x) => engine.ops.conv2d(x, engine.ops.convPack(noise('w', [24, 20, 3, 3])), { o: 24 }) },
  'conv2d winograd2': {
    shape: [3, 7, 9, 20],
    run: (x) => engine.ops.conv2d(x, engine.ops.convPack(noise('w', [24, 20, 3, 3]), { algo: 'winograd2' }), { o: 24, algo: 'winograd2' }),
  },
  'conv2d winograd4': {
    shape: [3, 33, 30, 16],
    run: (x) => engine.ops.conv2d(x, engine.ops.convPack(noise('w', [24, 16, 3, 3]), { algo: 'winograd4' }), { o: 24, algo: 'winograd4' }),
  },
  attention: { shape: [3, 91, 3 * 2 * 64], run: (x) => engine.ops.attention(x, { heads: 2, width: 64, scale: 0.125 }) },
  layer_norm: { shape: [3, 5, 67], run: (x) => engine.ops.layerNorm(x) },
  group_norm: { shape: [3, 16, 17, 64], run: (x) => engine.ops.groupNorm(x, noise('g', [64]), noise('b', [64]), { silu: true }) },
  softmax: { shape: [3, 5, 999], run: (x) => engine.ops.softmax(x) },
  'reduce sum': { shape: [3, 41, 19], run: (x) => engine.ops.reduce(x, { fn: 'sum', axis: 1 }) },
  bicubic: { shape: [3, 5, 5, 32], run: (x) => engine.ops.interpolate(x, { mode: 'bicubic', outH: 16, outW: 16 }) },
  gelu: { shape: [3, 1031], run: (x) => engine.ops.unary(x, { fn: 'gelu' }) },
  'slope of gelu': { shape: [3, 1031], run: (x) => engine.ops.unaryGrad(x, x, { fn: 'gelu' }) },
  sum_to: { shape: [3, 600, 19], run: (x) => engine.ops.sumTo(x, { shape: [x.shape[0] as number, 1, 19] }) },
  gate_residual: { shape: [3, 5, 67], run: (x) => engine.ops.gateResidual(x, noise('g', [1, 2, 67]), { gateAt: 1, residual: x }) },
  'gradient of bicubic': { shape: [3, 16, 16, 33], run: (x) => engine.ops.interpolateGrad(x, { mode: 'bicubic', h: 5, w: 5 }) },
};

for (const [name, { shape, run }] of Object.entries(BATCHED)) {
  fused(`alone as in a batch: ${name}`, async () => {
    const { ops } = engine;
    const x = noise(name, shape, -3, 3);
    const last = ops.slice(x, { axis: 0, start: 2, size: 1 });
    const [batch, alone] = [run(x), run(last)];
    const want = ops.slice(batch, { axis: 0, start: 2, size: 1 });
    // A GPU has other kernels for few rows, which add in another order.
    if (device !== 'cpu') return await equal(alone, want, 4e-6);
    assert.equal(Buffer.from((await alone.read()).buffer), Buffer.from((await want.read()).buffer));
  });
}

tests.run();
