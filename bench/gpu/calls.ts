// Inputs and the call of every timed kernel. Numbers come from the device (timing) or from a seeded generator (the check against the CPU).
import type { DType } from '../../ts/core/dtype.js';
import type { Engine, Tensor } from '../../ts/engine/index.js';
import { type Spec, visibleOf } from './specs.js';

/** Where the inputs of a call come from. */
export interface Source {
  normal(shape: readonly number[], dtype: DType): Tensor;
  integers(shape: readonly number[], below: number): Tensor;
}

/** What is enqueued per call, and what to read afterwards. */
export interface Call {
  run(): Tensor | undefined;
  /** Tensors changed in place; read where run gives none. */
  readonly changed?: readonly Tensor[];
}

/** Drawn on the device: nothing large crosses the bus. */
export function deviceSource(engine: Engine): Source {
  let stream = 0;
  return {
    normal: (shape, dtype) =>
      engine.scope(() => {
        const x = engine.ops.random({ shape: [...shape], kind: 'uniform', mean: -1, std: 1, stream: ++stream });
        return dtype === 'f32' ? x : engine.ops.cast(x, { dtype });
      }),
    integers: (shape, below) =>
      engine.scope(() => {
        const x = engine.ops.random({ shape: [...shape], kind: 'uniform', mean: 0, std: below, stream: ++stream });
        return engine.ops.cast(engine.ops.affine(x, { hi: below - 1 }), { dtype: 'i32' });
      }),
  };
}

/** Drawn here: the same numbers for two engines. */
export function hostSource(engine: Engine, seed: number): Source {
  let state = seed >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const size = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
  return {
    normal: (shape, dtype) =>
      engine.scope(() => {
        const x = engine.tensor(
          Float32Array.from({ length: size(shape) }, () => 2 * next() - 1),
          shape,
        );
        return dtype === 'f32' ? x : engine.ops.cast(x, { dtype });
      }),
    integers: (shape, below) =>
      engine.tensor(
        Int32Array.from({ length: size(shape) }, () => Math.floor(next() * below)),
        shape,
      ),
  };
}

type Sizes = Readonly<Record<string, number>>;
type Make = (e: Engine, from: Source, s: Sizes, dtype: DType) => Call;

const attention: Make = (e, from, { B, l, H, c }, dtype) => {
  const qkv = from.normal([B!, l!, 3 * H! * c!], dtype);
  const scaleMul = from.normal([H!], 'f32');
  const visible = e.tensor(visibleOf(l!), [l!]);
  return { run: () => e.ops.attention(qkv, { heads: H!, width: c!, scale: 1, scaleMul, visible }) };
};

const attentionGrad: Make = (e, from, { B, l, H, c }, dtype) => {
  const [heads, width] = [H!, c!];
  const qkv = from.normal([B!, l!, 3 * heads * width], dtype);
  const dy = from.normal([B!, l!, heads * width], dtype);
  const scaleMul = from.normal([heads], 'f32');
  const visible = e.tensor(visibleOf(l!), [l!]);
  const lse = e.ops.fill({ shape: [B!, heads, l!] });
  const y = e.ops.attention(qkv, { heads, width, scale: 1, scaleMul, visible, lse });
  const dScaleMul = e.ops.fill({ shape: [heads] });
  return { run: () => e.ops.attentionGrad(qkv, y, dy, lse, { heads, width, scale: 1, scaleMul, visible, dScaleMul }) };
};

const attentionStep: Make = (e, from, { B, l, pos, H, c }, dtype) => {
  const [heads, width] = [H!, c!];
  const qkv = from.normal([B!, l!, 3 * heads * width], dtype);
  const scaleMul = from.normal([heads], 'f32');
  const cache = (): Tensor => from.normal([B!, heads, pos! + l!, width], dtype);
  const [kCache, vCache] = [cache(), cache()];
  return { run: () => e.ops.attention(qkv, { heads, width, scale: 1, scaleMul, kCache, vCache, pos: pos!, append: true }) };
};

const linear: Make = (e, from, { M, N, K }, dtype) => {
  const x = from.normal([1, M!, K!], dtype);
  const w = e.scope(() => e.ops.linearPack(from.normal([N!, K!], 'f32'), { dtype }));
  const bias = from.normal([N!], 'f32');
  return { run: () => e.ops.linear(x, w, { n: N!, bias, dtype }) };
};

const linearGradW: Make = (e, from, { M, N, K }, dtype) => {
  const [x, dy] = [from.normal([1, M!, K!], dtype), from.normal([1, M!, N!], dtype)];
  const [dw, dbias] = [e.ops.fill({ shape: [N!, K!] }), e.ops.fill({ shape: [N!] })];
  return { run: () => void e.ops.linearGradW(x, dy, dw, { dbias, alpha: 1 / 1024 }) as undefined, changed: [dw, dbias] };
};

const conv2d: Make = (e, from, { B, h, I, o, kernel, upsample }, dtype) => {
  const x = from.normal([B!, h!, h!, I!], dtype);
  const w = e.scope(() => e.ops.convPack(from.normal([o!, I!, kernel!, kernel!], 'f32'), { dtype }));
  const bias = from.normal([o!], 'f32');
  const pad = (kernel! - 1) / 2;
  return { run: () => e.ops.conv2d(x, w, { o: o!, kernel: kernel!, padBefore: pad, padAfter: pad, upsample: upsample!, bias, dtype }) };
};

const groupNorm: Make = (e, from, { B, h, C }, dtype) => {
  const x = from.normal([B!, h!, h!, C!], dtype);
  const [gamma, beta] = [from.normal([C!], 'f32'), from.normal([C!], 'f32')];
  return { run: () => e.ops.groupNorm(x, gamma, beta, { silu: true, dtype }) };
};

const layerNorm: Make = (e, from, { B, l, C }, dtype) => {
  const [x, mod] = [from.normal([B!, l!, C!], 'f32'), from.normal([B!, 6, C!], 'f32')];
  return { run: () => e.ops.layerNorm(x, { mod, scaleAt: 2, shiftAt: 4, dtype }) };
};

const vqLookup: Make = (e, from, { N, V, C }) => {
  const [z, codebook] = [from.normal([N!, C!], 'f32'), from.normal([V!, C!], 'f32')];
  return { run: () => e.ops.vqLookup(z, codebook) };
};

const sampleCfg: Make = (e, from, { B, l, V }) => {
  const logits = from.normal([2 * B!, l!, V!], 'f32');
  const fill = (value: number): Tensor => e.ops.fill({ shape: [B!], value });
  const topK = e.tensor(new Int32Array(B!).fill(Math.min(900, V!)), [B!]);
  const seed = e.tensor(
    Int32Array.from({ length: 3 * B! }, (_, i) => (i % 3 === 2 ? Math.floor(i / 3) : 7)),
    [B!, 3],
  );
  const [t, topP] = [fill(1.5), fill(0.95)];
  return { run: () => e.ops.sampleCfg(logits, t, topK, topP, seed) };
};

const crossEntropy: Make = (e, from, { M, V }, dtype) => {
  const [logits, target] = [from.normal([M!, V!], dtype), from.integers([M!], V!)];
  return { run: () => e.ops.crossEntropy(logits, target) };
};

const adamw: Make = (e, from, { n }) => {
  const [param, grad] = [from.normal([n!], 'f32'), from.normal([n!], 'f32')];
  const [m, v] = [e.ops.fill({ shape: [n!] }), e.ops.fill({ shape: [n!] })];
  return { run: () => void e.ops.adamw(param, grad, m, v, { lr: 1e-4, weightDecay: 0.05, step: 1 }) as undefined, changed: [param] };
};

const adamw8: Make = (e, from, { n }) => {
  const blocks = Math.ceil(n! / 256);
  const [param, grad] = [from.normal([n!], 'f32'), from.normal([n!], 'f32')];
  const m = e.ops.fill({ shape: [n!], value: 128, dtype: 'u8' });
  const v = e.ops.fill({ shape: [n!], value: 0, dtype: 'u8' });
  const [mScale, vScale] = [e.ops.fill({ shape: [blocks] }), e.ops.fill({ shape: [blocks] })];
  const run = (): undefined => void e.ops.adamw8(param, grad, m, v, mScale, vScale, { lr: 1e-4, weightDecay: 0.05, step: 1 }) as undefined;
  return { run, changed: [param] };
};

const copy: Make = (e, from, { n }, dtype) => {
  const x = from.normal([n!], dtype);
  return { run: () => e.ops.reshape(x, { shape: [1, n!] }) };
};

const MAKES: Readonly<Record<string, Make>> = {
  attention,
  attention_grad: attentionGrad,
  attention_step: attentionStep,
  linear,
  linear_grad_w: linearGradW,
  conv2d,
  group_norm: groupNorm,
  layer_norm: layerNorm,
  vq_lookup: vqLookup,
  sample_cfg: sampleCfg,
  cross_entropy: crossEntropy,
  adamw,
  adamw8,
  copy,
};

export function makeCall(engine: Engine, from: Source, s: Spec): Call {
  const make = MAKES[s.op];
  if (!make) throw new Error(`${s.op} is no kernel of bench/gpu`);
  return make(engine, from, s as unknown as Sizes, s.dtype);
}
