import { ShapeError } from '../../core/errors.js';
import type { Engine, Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import type { VqvaeConfig } from './config.js';
import { type EntropyOptions, entropyTerm } from './quantize-train-entropy.js';
import type { MultiScaleQuantizer } from './quantizer.js';

/** What the quantizer needs in training: a tape, or `frozenGraph` where nothing is differentiated. */
export interface TrainGraph extends Graph {
  readonly engine: Engine;
  /** The same values without gradient. */
  detach(x: Tensor): Tensor;
  /** (value - x) + x, its gradient going to x. */
  straightThrough(value: Tensor, x: Tensor): Tensor;
}

export interface QuantizeTrainOptions {
  /** Return the vectors that were looked up. */
  readonly residuals?: boolean;
  /** Soft-assignment entropy, computed where given. */
  readonly entropy?: EntropyOptions | undefined;
  /** Return f_hat after every scale. */
  readonly everyScale?: boolean;
}

export interface QuantizeTrain {
  /** [B, h, w, Cvae]; values of f_hat, gradient to f. */
  readonly fHat: Tensor;
  /** [1]: mean over scales of beta * mse(sg(f_hat), f) + mse(f_hat, sg(f)). */
  readonly vqLoss: Tensor;
  /** [1]: mean over scales of sample entropy minus batch entropy. */
  readonly entropy?: Tensor;
  /** [B, L] i32. */
  readonly tokens: Tensor;
  /** [B * L, Cvae], scale by scale. */
  readonly residuals?: Tensor;
  /** f_hat after every scale, without gradient. */
  readonly fHats: Tensor[];
}

/** A graph that records nothing. */
export function frozenGraph(engine: Engine): TrainGraph {
  const { ops } = engine;
  return {
    engine,
    ops,
    scope: (fn) => engine.scope(fn),
    tensor: (data, shape, dtype) => engine.tensor(data, shape, dtype),
    empty: (shape, dtype) => engine.empty(shape, dtype),
    detach: (x) => engine.view(x, 0, x.shape),
    straightThrough: (value, x) => engine.scope(() => ops.binary(ops.binary(value, x, { fn: 'sub' }), x, { fn: 'add' })),
  };
}

/**
 * Training forward of the quantizer (VectorQuantizer2.forward): f [B, h, w, Cvae] is quantized scale by scale. Codewords, their
 * enlargement and phi are recorded, look-ups and residuals are not; f receives gradients from the commitment loss and straight through.
 */
export function quantizeTrain(
  g: TrainGraph,
  quantizer: MultiScaleQuantizer,
  config: VqvaeConfig,
  f: Tensor,
  options: QuantizeTrainOptions = {},
): QuantizeTrain {
  checkFeatures(config, f);
  const { patchNums, beta } = config;
  const sn = patchNums.length;
  return g.scope(() => {
    const plain = g.engine.ops;
    const fixed = g.detach(f);
    const rest = plain.reshape(fixed, { shape: [...f.shape] });
    const [tokens, residuals, fHats, losses, entropies]: Tensor[][] = [[], [], [], [], []];
    let fHat: Tensor | undefined;
    for (const [si, pn] of patchNums.entries()) {
      const z = vectorsOf(plain, rest, pn, si === sn - 1);
      const idx = lookup(plain, quantizer, z, config.usingZnorm, [f.shape[0]!, pn * pn]);
      tokens!.push(idx);
      if (options.residuals) residuals!.push(z);
      if (options.entropy) entropies!.push(entropyTerm(g, quantizer, config, scaleVectors(g, f, fHat, pn, si === sn - 1), options.entropy));
      const y = contribution(g.ops, quantizer, quantizer.embed(g.ops, idx, pn, pn), f.shape, si, sn);
      fHat = fHat ? g.ops.binary(fHat, y, { fn: 'add' }) : y;
      plain.accumulate(rest, y, { alpha: -1 });
      const commit = g.ops.affine(g.ops.pairLoss(f, g.detach(fHat), { kind: 'l2' }), { mul: beta });
      losses!.push(g.ops.binary(commit, g.ops.pairLoss(fHat, fixed, { kind: 'l2' }), { fn: 'add' }));
      if (options.everyScale) fHats!.push(g.detach(fHat));
    }
    return {
      fHat: g.straightThrough(fHat!, f),
      vqLoss: mean(g.ops, losses!),
      ...(options.entropy ? { entropy: mean(g.ops, entropies!) } : {}),
      tokens: join(plain, tokens!, 1),
      ...(options.residuals ? { residuals: join(plain, residuals!, 0) } : {}),
      fHats: fHats!,
    };
  });
}

/**
 * The vectors [B * L, Cvae] that the scales would look up, without gradient. `codes`: each scale takes its share with the nearest
 * codewords; otherwise with the vectors themselves, as if every vector were a code.
 */
export function scaleResiduals(engine: Engine, quantizer: MultiScaleQuantizer, config: VqvaeConfig, f: Tensor, codes: boolean): Tensor {
  checkFeatures(config, f);
  const { ops } = engine;
  const { patchNums, zChannels } = config;
  const b = f.shape[0]!;
  const sn = patchNums.length;
  return engine.scope(() => {
    const rest = ops.reshape(f, { shape: [...f.shape] });
    const vectors = patchNums.map((pn, si) => {
      const z = vectorsOf(ops, rest, pn, si === sn - 1);
      const h = codes
        ? quantizer.embed(ops, lookup(ops, quantizer, z, config.usingZnorm, [b, pn * pn]), pn, pn)
        : ops.reshape(z, { shape: [b, pn, pn, zChannels] });
      ops.accumulate(rest, contribution(ops, quantizer, h, f.shape, si, sn), { alpha: -1 });
      return z;
    });
    return join(ops, vectors, 0);
  });
}

function checkFeatures({ patchNums, zChannels }: VqvaeConfig, f: Tensor): void {
  const side = patchNums.at(-1)!;
  if (f.shape.length !== 4 || f.shape[1] !== side || f.shape[2] !== side || f.shape[3] !== zChannels)
    throw new ShapeError(`[quantize] features are [${f.shape}], accepted is [B, ${side}, ${side}, ${zChannels}]`);
}

/** [B, h, w, C] averaged to pn x pn, as rows [B * pn * pn, C]. */
function vectorsOf(ops: Ops<Tensor>, map: Tensor, pn: number, last: boolean): Tensor {
  const down = last ? map : ops.interpolate(map, { mode: 'area', outH: pn, outW: pn });
  return ops.reshape(down, { shape: [map.shape[0]! * pn * pn, map.shape[3]!] });
}

function lookup(ops: Ops<Tensor>, quantizer: MultiScaleQuantizer, z: Tensor, cosine: boolean, shape: number[]): Tensor {
  return ops.reshape(ops.vqLookup(z, quantizer.embedding.weight, { cosine }), { shape });
}

/** phi(bicubic(h)), what scale si adds to f_hat. */
function contribution(
  ops: Ops<Tensor>,
  quantizer: MultiScaleQuantizer,
  h: Tensor,
  [, height, width]: readonly number[],
  si: number,
  sn: number,
): Tensor {
  const full = si === sn - 1 ? h : ops.interpolate(h, { mode: 'bicubic', outH: height!, outW: width! });
  return quantizer.phi(ops, full, si, sn);
}

/** The vectors of a scale with their gradient to f: f - sg(f_hat), averaged. */
function scaleVectors(g: TrainGraph, f: Tensor, fHat: Tensor | undefined, pn: number, last: boolean): Tensor {
  return vectorsOf(g.ops, fHat ? g.ops.binary(f, g.detach(fHat), { fn: 'sub' }) : f, pn, last);
}

function mean(ops: Ops<Tensor>, parts: readonly Tensor[]): Tensor {
  return ops.affine(
    parts.reduce((sum, part) => ops.binary(sum, part, { fn: 'add' })),
    { mul: 1 / parts.length },
  );
}

const join = (ops: Ops<Tensor>, parts: readonly Tensor[], axis: number): Tensor =>
  parts.reduce((all, part) => ops.concat(all, part, { axis }));
