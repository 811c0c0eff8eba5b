// Gradients of row-wise ops against central differences of the float64 reference definitions of their forward ops.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createEngine, type Engine, type Tensor } from '../../ts/engine/index.js';
import { Draw } from '../parity/draw.js';
import attention from '../reference/attention.js';
import attentionGrad from '../reference/attention_grad.js';
import crossEntropy from '../reference/cross_entropy.js';
import crossEntropyGrad from '../reference/cross_entropy_grad.js';
import groupNorm from '../reference/group_norm.js';
import groupNormGrad from '../reference/group_norm_grad.js';
import { Args, type AttrMap, make, type Reference, type Ten, zeros } from '../reference/kit.js';
import l2Normalize from '../reference/l2_normalize.js';
import l2NormalizeGrad from '../reference/l2_normalize_grad.js';
import layerNorm from '../reference/layer_norm.js';
import layerNormGrad from '../reference/layer_norm_grad.js';
import softmax from '../reference/softmax.js';
import softmaxGrad from '../reference/softmax_grad.js';

type Inputs = Readonly<Record<string, Ten | undefined>>;

const test = suite('gradients of row-wise ops');
let engine: Engine;
test.before(async () => {
  engine = await createEngine();
});
test.after(() => engine.close());

/** Numbers that f32 holds exactly. */
function draw(name: string, shape: readonly number[], lo = -1, hi = 1): Ten {
  const d = new Draw('kernels-row', name);
  return make(shape, () => Math.fround(d.between(lo, hi)));
}

const run = (f: Reference, inputs: Inputs, attrs: AttrMap, name: string): Ten => f(new Args(inputs, attrs)).tensors[name] as Ten;

/** d/dx of the sum of dy * y, by central differences. */
function difference(loss: (inputs: Inputs) => number, inputs: Inputs, name: string): Float64Array {
  const x = inputs[name] as Ten;
  return x.data.map((v, i) => {
    const at = (to: number): number => {
      const data = x.data.slice();
      data[i] = to;
      return loss({ ...inputs, [name]: { shape: x.shape, data } });
    };
    const h = 1e-5 * Math.max(1, Math.abs(v));
    return (at(v + h) - at(v - h)) / (2 * h);
  });
}

function near(got: ArrayLike<number>, want: Float64Array, tolerance: number, what: string): void {
  assert.is(got.length, want.length, what);
  const scale = want.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-3);
  const worst = want.reduce((m, v, i) => Math.max(m, Math.abs((got[i] as number) - v) / scale), 0);
  assert.ok(worst <= tolerance, `${what}: error ${worst.toExponential(1)}, accepted ${tolerance}`);
}

interface Checked {
  readonly forward: Reference;
  readonly inputs: Inputs;
  readonly attrs: AttrMap;
  readonly y: string;
  readonly grad: Reference;
  /** Inputs of the gradient besides those of the forward op, given y and dy. */
  readonly more: (y: Ten, dy: Ten) => Inputs;
  /** Inputs that are differentiated, and where the gradient puts it. */
  readonly wanted: Readonly<Record<string, string>>;
  readonly kernel: (tensors: Readonly<Record<string, Tensor>>) => Tensor;
}

async function check(c: Checked): Promise<void> {
  const y = run(c.forward, c.inputs, c.attrs, c.y);
  const dy = draw('dy', y.shape);
  const loss = (inputs: Inputs): number => run(c.forward, inputs, c.attrs, c.y).data.reduce((s, v, i) => s + v * (dy.data[i] as number), 0);
  const inputs = { ...c.inputs, ...c.more(y, dy) };
  const reference = c.grad(new Args(inputs, c.attrs)).tensors;
  const scope = engine.openScope();
  try {
    const tensors: Record<string, Tensor> = {};
    for (const [name, t] of Object.entries(inputs)) {
      if (!t) continue;
      const whole = name === 'visible' || name === 'target';
      tensors[name] = scope.run(() => engine.tensor(whole ? Int32Array.from(t.data) : Float32Array.from(t.data), t.shape));
    }
    const out = scope.run(() => c.kernel(tensors));
    for (const [input, output] of Object.entries(c.wanted)) {
      const want = difference(loss, c.inputs, input);
      near((reference[output] as Ten).data, want, 1e-6, `${output}, reference`);
      near((await (tensors[output] ?? out).read()) as Float32Array, want, 1e-5, `${output}, kernel`);
    }
  } finally {
    scope.close();
  }
}

for (const [name, smooth] of [
  ['plain', 0],
  ['smoothed', 0.1],
] as const) {
  test(`cross-entropy, ${name}`, () =>
    check({
      forward: crossEntropy,
      inputs: { logits: draw('logits', [5, 19], -3, 3), target: { shape: [5], data: Float64Array.of(0, 18, 7, 7, 3) } },
      attrs: { labelSmooth: smooth },
      y: 'loss',
      grad: crossEntropyGrad,
      more: (_, dy) => ({ dLoss: dy }),
      wanted: { logits: 'dLogits' },
      kernel: (t) => engine.ops.crossEntropyGrad(t.logits as Tensor, t.target as Tensor, t.dLoss as Tensor, { labelSmooth: smooth }),
    }));
}

for (const rows of [2, 1]) {
  test(`LayerNorm with ${rows} rows of modulation`, () =>
    check({
      forward: layerNorm,
      inputs: { x: draw('x', [2, 4, 9]), mod: draw('mod', [rows, 3, 9]) },
      attrs: { eps: 1e-6, scaleAt: 2, shiftAt: 0 },
      y: 'y',
      grad: layerNormGrad,
      more: (_, dy) => ({ dy, dMod: zeros([rows, 3, 9]) }),
      wanted: { x: 'dx', mod: 'dMod' },
      kernel: (t) =>
        engine.ops.layerNormGrad(t.x as Tensor, t.dy as Tensor, {
          mod: t.mod as Tensor,
          dMod: t.dMod as Tensor,
          scaleAt: 2,
          shiftAt: 0,
        }),
    }));
}

for (const silu of [false, true]) {
  test(`GroupNorm${silu ? ' and SiLU' : ''}`, () =>
    check({
      forward: groupNorm,
      inputs: { x: draw('x', [2, 3, 3, 6], -2, 3), gamma: draw('gamma', [6]), beta: draw('beta', [6]) },
      attrs: { groups: 3, eps: 1e-6, silu },
      y: 'y',
      grad: groupNormGrad,
      more: (_, dy) => ({ dy, dGamma: zeros([6]), dBeta: zeros([6]) }),
      wanted: { x: 'dx', gamma: 'dGamma', beta: 'dBeta' },
      kernel: (t) =>
        engine.ops.groupNormGrad(t.x as Tensor, t.dy as Tensor, t.gamma as Tensor, t.beta as Tensor, {
          groups: 3,
          silu,
          dGamma: t.dGamma as Tensor,
          dBeta: t.dBeta as Tensor,
        }),
    }));
}

test('softmax', () =>
  check({
    forward: softmax,
    inputs: { x: draw('x', [3, 11]) },
    attrs: { scale: 1.5 },
    y: 'y',
    grad: softmaxGrad,
    more: (y, dy) => ({ y, dy }),
    wanted: { x: 'dx' },
    kernel: (t) => engine.ops.softmaxGrad(t.y as Tensor, t.dy as Tensor, { scale: 1.5 }),
  }));

test('l2 normalisation', () =>
  check({
    forward: l2Normalize,
    inputs: { x: draw('x', [4, 7]) },
    attrs: { eps: 1e-12 },
    y: 'y',
    grad: l2NormalizeGrad,
    more: (_, dy) => ({ dy }),
    wanted: { x: 'dx' },
    kernel: (t) => engine.ops.l2NormalizeGrad(t.x as Tensor, t.dy as Tensor),
  }));

for (const normalise of [false, true]) {
  test(`attention, block-causal${normalise ? ', normalised queries and keys' : ''}`, () => {
    const [B, l, H, n] = [2, 9, 2, 5];
    const attrs = { heads: H, width: n, scale: Math.fround(0.3), maxScaleMul: Math.fround(Math.log(100)), pos: 0, append: false };
    const sees = Float64Array.of(1, 4, 4, 4, 9, 9, 9, 9, 9);
    // The second head's scale is clamped: no gradient.
    const scaleMul = normalise ? { shape: [H], data: Float64Array.of(1.25, 5) } : undefined;
    const inputs: Inputs = {
      qkv: draw('qkv', [B, l, 3 * H * n]),
      visible: { shape: [l], data: sees },
      ...(scaleMul && { scaleMul }),
    };
    const lse = run(attention, { ...inputs, lse: zeros([B, H, l]) }, attrs, 'lse');
    return check({
      forward: attention,
      inputs,
      attrs,
      y: 'y',
      grad: attentionGrad,
      more: (y, dy) => ({ y, dy, lse, ...(normalise && { dScaleMul: zeros([H]) }) }),
      wanted: { qkv: 'dqkv', ...(normalise && { scaleMul: 'dScaleMul' }) },
      kernel: (t) =>
        engine.ops.attentionGrad(t.qkv as Tensor, t.y as Tensor, t.dy as Tensor, t.lse as Tensor, {
          heads: H,
          width: n,
          scale: attrs.scale,
          visible: t.visible as Tensor,
          ...(normalise && { scaleMul: t.scaleMul as Tensor, dScaleMul: t.dScaleMul as Tensor }),
        }),
    });
  });
}

test.run();
