// The ops as VAR-d16 with the 160-channel VQVAE calls them for one 256 x 256 image with guidance, each with its floor.
import type { Engine, Tensor } from '../engine/index.js';

export interface OpCase {
  name: string;
  /** floating point operations; 0 for ops that only move data */
  flops: number;
  /** operations of the plain sum, where the algorithm needs fewer; rates are stated in these */
  direct?: number;
  /** bytes that have to cross the memory bus once */
  bytes: number;
  /** makes the inputs; the returned function enqueues one run (i counts the runs) and gives back what to dispose */
  setup(engine: Engine): (i: number) => Tensor | undefined;
}

type WeightDType = 'f32' | 'f16' | 'bf16' | 'int8';

const BYTES = { f32: 4, f16: 2, bf16: 2, int8: 1 } as const;

// Weights of successive runs differ, as in a model: together they exceed the last-level cache.
export const ROTATE_BYTES = 160 * 2 ** 20;

export function normal(engine: Engine, shape: number[], std = 1, stream = 0): Tensor {
  return engine.ops.random({ shape, kind: 'normal', mean: 0, std, seedLo: 1, stream });
}

function linear(M: number, K: number, N: number, dtype: WeightDType): OpCase {
  const weight = N * K * BYTES[dtype];
  return {
    name: `linear M=${M} ${K}->${N}${dtype === 'f32' ? '' : ` ${dtype}`}`,
    flops: 2 * M * K * N,
    bytes: weight + 4 * M * (K + N),
    setup(engine) {
      const x = normal(engine, [1, M, K]);
      const w = Array.from({ length: Math.max(1, Math.ceil(ROTATE_BYTES / weight)) }, (_, i) => {
        const plain = normal(engine, [N, K], 0.02, i + 1);
        const packed = engine.ops.linearPack(plain, { dtype: dtype === 'int8' ? 'u8' : dtype });
        plain.dispose();
        return packed;
      });
      const bias = normal(engine, [N]);
      return (i) => engine.ops.linear(x, w[i % w.length]!, { n: N, bias });
    },
  };
}

function attention(pos: number, l: number): OpCase {
  const [B, H, c] = [2, 16, 64];
  const keys = pos + l;
  return {
    name: `attention l=${l} keys=${keys}`,
    flops: 4 * B * H * c * l * keys,
    bytes: 4 * B * H * c * (4 * l + 2 * keys),
    setup(engine) {
      const qkv = normal(engine, [B, l, 3 * H * c]);
      const kCache = normal(engine, [B, H, 680, c], 1, 1);
      const vCache = normal(engine, [B, H, 680, c], 1, 2);
      const scaleMul = engine.ops.fill({ shape: [H], value: Math.log(4) });
      return () => engine.ops.attention(qkv, { heads: H, width: c, scaleMul, kCache, vCache, pos, append: true });
    },
  };
}

type ConvAlgo = 'direct' | 'winograd2' | 'winograd4';

function conv(
  I: number,
  O: number,
  side: number,
  algo: ConvAlgo,
  extra: { stride?: number; upsample?: number; kernel?: number } = {},
): OpCase {
  const { stride = 1, upsample = 1, kernel = 3 } = extra;
  const out = (side * upsample) / stride;
  const pad = kernel === 1 ? { padBefore: 0, padAfter: 0 } : stride === 2 ? { padBefore: 0, padAfter: 1 } : { padBefore: 1, padAfter: 1 };
  const tags = `${stride > 1 ? ` s${stride}` : ''}${upsample > 1 ? ` up${upsample}` : ''}`;
  // Winograd F(t x t, 3 x 3) multiplies (t + 2)^2 numbers per t x t outputs; its weights are larger by as much.
  const tile = algo === 'direct' ? 0 : algo === 'winograd2' ? 2 : 4;
  const products = tile ? (tile + 2) ** 2 * Math.ceil(out / tile) ** 2 : kernel * kernel * out * out;
  const weights = tile ? (tile + 2) ** 2 : kernel * kernel;
  return {
    name: `conv${kernel}x${kernel}${tags} ${I}->${O} @${side} ${algo}`,
    flops: 2 * products * I * O,
    direct: 2 * kernel * kernel * I * O * out * out,
    bytes: 4 * (weights * I * O + I * side * side + O * out * out),
    setup(engine) {
      const x = normal(engine, [1, side, side, I]);
      const plain = normal(engine, [O, I, kernel, kernel], 0.02, 1);
      const w = engine.ops.convPack(plain, { algo });
      plain.dispose();
      const bias = normal(engine, [O]);
      return () => engine.ops.conv2d(x, w, { o: O, algo, kernel, stride, upsample, bias, ...pad });
    },
  };
}

export function memoryBound(name: string, bytes: number, setup: OpCase['setup']): OpCase {
  return { name, flops: 0, bytes, setup };
}

function normCases(): OpCase[] {
  const [B, l, C] = [2, 256, 1024];
  return [
    memoryBound(`layer_norm B=${B} l=${l} C=${C}`, 8 * B * l * C, (engine) => {
      const x = normal(engine, [B, l, C]);
      const mod = normal(engine, [B, 6, C]);
      return () => engine.ops.layerNorm(x, { mod, scaleAt: 2, shiftAt: 4 });
    }),
    ...[
      [256, 160],
      [128, 160],
      [64, 320],
      [16, 640],
    ].map(([side, ch]) =>
      memoryBound(`group_norm+silu ${ch} @${side}`, 8 * side! * side! * ch!, (engine) => {
        const x = normal(engine, [1, side!, side!, ch!]);
        const gamma = normal(engine, [ch!]);
        const beta = normal(engine, [ch!]);
        return () => engine.ops.groupNorm(x, gamma, beta, { silu: true });
      }),
    ),
  ];
}

function tokenCases(): OpCase[] {
  const [l, V, C] = [256, 4096, 32];
  return [
    {
      name: `vq_lookup N=${l} V=${V} C=${C}`,
      flops: 2 * l * V * C,
      bytes: 4 * (l * C + V * C + l),
      setup(engine) {
        const z = normal(engine, [l, C]);
        const codebook = normal(engine, [V, C], 1, 1);
        return () => engine.ops.vqLookup(z, codebook);
      },
    },
    memoryBound(`sample_cfg l=${l} V=${V} k=900 p=0.95`, 4 * 2 * l * V, (engine) => {
      const logits = normal(engine, [2, l, V]);
      const t = engine.tensor(new Float32Array([4]), [1]);
      const topK = engine.tensor(new Int32Array([900]), [1]);
      const topP = engine.tensor(new Float32Array([0.95]), [1]);
      const seed = engine.tensor(new Int32Array([1, 0, 0]), [1, 3]);
      return () => engine.ops.sampleCfg(logits, t, topK, topP, seed, { scale: 9 });
    }),
    memoryBound(`embedding ${l} of ${V}x${C}`, 4 * l * (2 * C + 1), (engine) => {
      const table = normal(engine, [V, C]);
      const idx = engine.tensor(
        Int32Array.from({ length: l }, (_, i) => (i * 37) % V),
        [1, l],
      );
      return () => engine.ops.embedding(table, idx);
    }),
  ];
}

function mapCases(): OpCase[] {
  return [
    memoryBound('unary gelu 1360x4096', 8 * 1360 * 4096, (engine) => {
      const x = normal(engine, [1360, 4096]);
      return () => engine.ops.unary(x, { fn: 'gelu' });
    }),
    memoryBound('binary add 1360x1024', 12 * 1360 * 1024, (engine) => {
      const a = normal(engine, [1360, 1024]);
      const b = normal(engine, [1360, 1024], 1, 1);
      return () => engine.ops.binary(a, b, { fn: 'add' });
    }),
    memoryBound('interpolate bicubic 13->16 C=32', 4 * 32 * (13 * 13 + 16 * 16), (engine) => {
      const x = normal(engine, [1, 13, 13, 32]);
      return () => engine.ops.interpolate(x, { mode: 'bicubic', outH: 16, outW: 16 });
    }),
    memoryBound('resize_lanczos 1024x768->288x288', 3 * (1024 * 768 + 288 * 288), (engine) => {
      const x = engine.tensor(
        Uint8Array.from({ length: 1024 * 768 * 3 }, (_, i) => (i * 31) & 255),
        [768, 1024, 3],
      );
      return () => engine.ops.resizeLanczos(x, { outH: 288, outW: 288 });
    }),
  ];
}

/** All cases in the order they are run. */
export function opCases(): OpCase[] {
  const rows = [2, 18, 50, 128, 338, 512, 1360];
  const shapes = [
    [1024, 3072],
    [1024, 4096],
    [4096, 1024],
  ];
  return [
    ...shapes.flatMap(([K, N]) => rows.map((M) => linear(M, K!, N!, 'f32'))),
    ...[2, 50, 512].map((M) => linear(M, 1024, 4096, 'f16')),
    ...[2, 512].map((M) => linear(M, 1024, 4096, 'bf16')),
    ...[2, 50, 512].map((M) => linear(M, 1024, 4096, 'int8')),
    ...[
      [14, 16],
      [155, 100],
      [424, 256],
    ].map(([pos, l]) => attention(pos!, l!)),
    ...(['direct', 'winograd2', 'winograd4'] as const).flatMap((algo) => [
      conv(640, 640, 16, algo),
      conv(320, 320, 64, algo),
      conv(160, 160, 256, algo),
    ]),
    conv(160, 160, 128, 'winograd4', { upsample: 2 }),
    conv(160, 160, 256, 'direct', { stride: 2 }),
    conv(320, 160, 128, 'direct', { kernel: 1 }),
    ...normCases(),
    ...tokenCases(),
    ...mapCases(),
  ];
}
