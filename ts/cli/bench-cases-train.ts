// The ops of a training step of VAR-d16 at batch 1 and of the 160-channel VQVAE, each with its floor.
import type { Engine, Tensor } from '../engine/index.js';
import { memoryBound, normal, type OpCase, ROTATE_BYTES } from './bench-cases.js';

const [L, C, H, V] = [680, 1024, 16, 4096];

function linearGradW(M: number, K: number, N: number): OpCase {
  return {
    name: `linear_grad_w M=${M} ${K}->${N}`,
    flops: 2 * M * K * N,
    bytes: 4 * (M * (K + N) + 2 * K * N),
    setup(engine) {
      const x = normal(engine, [1, M, K]);
      const dy = normal(engine, [1, M, N], 1, 1);
      const dw = engine.ops.fill({ shape: [N, K] });
      const dbias = engine.ops.fill({ shape: [N] });
      return () => void engine.ops.linearGradW(x, dy, dw, { dbias });
    },
  };
}

function conv2dGradW(channels: number, side: number): OpCase {
  const map = side * side * channels;
  return {
    name: `conv2d_grad_w ${channels}->${channels} @${side}`,
    flops: 18 * map * channels,
    bytes: 4 * (2 * map + 18 * channels ** 2),
    setup(engine) {
      const x = normal(engine, [1, side, side, channels]);
      const dy = normal(engine, [1, side, side, channels], 1, 1);
      const dw = engine.ops.fill({ shape: [channels, channels, 3, 3] });
      return () => void engine.ops.conv2dGradW(x, dy, dw, { padBefore: 1, padAfter: 1 });
    },
  };
}

function pack(name: string, N: number, K: number, options: { transpose?: boolean }): OpCase {
  return memoryBound(name, 8 * N * K, (engine) => {
    const w = rotating(engine, [N, K]);
    return (i) => engine.ops.linearPack(w(i), options);
  });
}

/** Tensors of one shape that together exceed the last-level cache, in turn. */
function rotating(engine: Engine, shape: number[]): (i: number) => Tensor {
  const bytes = 4 * shape.reduce((n, d) => n * d, 1);
  const all = Array.from({ length: Math.max(1, Math.ceil(ROTATE_BYTES / bytes)) }, (_, i) => normal(engine, shape, 0.02, i + 1));
  return (i) => all[i % all.length]!;
}

function attentionGrad(): OpCase {
  const c = C / H;
  return {
    name: `attention_grad l=${L} heads=${H}`,
    flops: 10 * H * c * L * L,
    bytes: 4 * C * L * 8,
    setup(engine) {
      const { ops } = engine;
      const qkv = normal(engine, [1, L, 3 * C]);
      const lse = ops.fill({ shape: [1, H, L] });
      const call = { heads: H, width: c, scale: 1 / 8 };
      const y = ops.attention(qkv, { ...call, lse });
      const dy = normal(engine, [1, L, C], 1, 1);
      return () => ops.attentionGrad(qkv, y, dy, lse, call);
    },
  };
}

function rowCases(): OpCase[] {
  return [
    memoryBound(`layer_norm_grad l=${L} C=${C}`, 12 * L * C, (engine) => {
      const x = normal(engine, [1, L, C]);
      const mod = normal(engine, [1, 6, C]);
      const dMod = engine.ops.fill({ shape: [1, 6, C] });
      return () => engine.ops.layerNormGrad(x, x, { mod, dMod, scaleAt: 2, shiftAt: 4 });
    }),
    memoryBound('group_norm_grad+silu 160 @128', 20 * 128 * 128 * 160, (engine) => {
      const x = normal(engine, [1, 128, 128, 160]);
      const dy = normal(engine, [1, 128, 128, 160], 1, 1);
      const [gamma, beta] = [normal(engine, [160]), normal(engine, [160], 1, 1)];
      return () => engine.ops.groupNormGrad(x, dy, gamma, beta, { silu: true });
    }),
    memoryBound(`gate_residual_grad l=${L} C=${C}`, 12 * L * C, (engine) => {
      const x = normal(engine, [1, L, C]);
      const gate = normal(engine, [1, 6, C]);
      const dGate = engine.ops.fill({ shape: [1, 6, C] });
      return () => engine.ops.gateResidualGrad(x, x, gate, { dGate });
    }),
    memoryBound(`unary_grad gelu ${L}x${4 * C}`, 12 * L * 4 * C, (engine) => {
      const x = normal(engine, [L, 4 * C]);
      const dy = normal(engine, [L, 4 * C], 1, 1);
      return () => engine.ops.unaryGrad(x, dy, { fn: 'gelu' });
    }),
    memoryBound(`cross_entropy l=${L} V=${V}`, 4 * L * V, (engine) => {
      const [logits, target] = [normal(engine, [1, L, V]), targets(engine)];
      return () => engine.ops.crossEntropy(logits, target);
    }),
    memoryBound(`cross_entropy_grad l=${L} V=${V}`, 8 * L * V, (engine) => {
      const [logits, target] = [normal(engine, [1, L, V]), targets(engine)];
      const dLoss = engine.ops.fill({ shape: [1, L], value: 1 / L });
      return () => engine.ops.crossEntropyGrad(logits, target, dLoss);
    }),
  ];
}

const targets = (engine: Engine): Tensor =>
  engine.tensor(
    Int32Array.from({ length: L }, (_, i) => (i * 37) % V),
    [1, L],
  );

function stepCases(): OpCase[] {
  const n = 1 << 26; // 256 MiB: no cache holds it
  const call = { lr: 1e-4, step: 1, weightDecay: 0.05 };
  return [
    memoryBound(`grad_stats n=${n}`, 4 * n, (engine) => {
      const [g, offsets] = [normal(engine, [n]), engine.tensor(Int32Array.of(0, n), [2])];
      return () => engine.ops.gradStats(g, offsets);
    }),
    memoryBound(`adamw n=${n}`, 28 * n, (engine) => {
      const [param, grad, m, v] = [normal(engine, [n]), normal(engine, [n], 1, 1), fill(engine, n), fill(engine, n)];
      return () => void engine.ops.adamw(param, grad, m, v, call);
    }),
    memoryBound(`adamw8 n=${n}`, 16 * n, (engine) => {
      const [param, grad] = [normal(engine, [n]), normal(engine, [n], 1, 1)];
      const codes = () => engine.ops.fill({ shape: [n], dtype: 'u8' });
      const [m, v, mScale, vScale] = [codes(), codes(), fill(engine, n / 256), fill(engine, n / 256)];
      return () => void engine.ops.adamw8(param, grad, m, v, mScale, vScale, call);
    }),
  ];
}

const fill = (engine: Engine, n: number): Tensor => engine.ops.fill({ shape: [n] });

export function trainingCases(): OpCase[] {
  return [
    pack(`linear_pack ${C}->${4 * C}`, 4 * C, C, {}),
    pack(`linear_pack ${C}->${4 * C} transpose`, 4 * C, C, { transpose: true }),
    linearGradW(L, C, 4 * C),
    linearGradW(L, 4 * C, C),
    conv2dGradW(160, 64),
    attentionGrad(),
    ...rowCases(),
    ...stepCases(),
  ];
}
