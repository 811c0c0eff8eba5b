import { refuse } from '../../core/check.js';
import { ArgumentError, ShapeError } from '../../core/errors.js';
import type { Graph, Tensor } from '../../engine/index.js';
import type { Ops } from '../../gen/ops.js';
import { Embedding, Module, zeros } from '../../nn/index.js';
import type { VqvaeConfig } from './config.js';
import { Phi, phiIndex } from './phi.js';

/** A token map: its side length, or [height, width]. */
export type PatchSize = number | readonly [number, number];

/** What quantizing gives: tokens of every scale, and f_hat after every scale or after the last alone. */
export interface Scales {
  readonly idxBl: Tensor[];
  readonly fHats: Tensor[];
}

const K_PER_SCALE = 0;
const K_SHARED = 1;

function phiName(share: number, i: number): string {
  if (share === K_PER_SCALE) return `quantize.quant_resi.${i}`;
  return share === K_SHARED ? 'quantize.quant_resi.qresi' : `quantize.quant_resi.qresi_ls.${i}`;
}

/** [ph, pw] of every entry; throws ArgumentError for an empty list or a size below 1. */
export function patchSizes(list: readonly PatchSize[]): [number, number][] {
  if (!Array.isArray(list)) refuse('patchNums', list, 'a list of sizes');
  if (list.length === 0) throw new ArgumentError('patchNums: an empty list was given, at least one token map is needed');
  return list.map((size, i) => {
    const [ph, pw] = Array.isArray(size) ? size : [size, size];
    if (!Number.isInteger(ph) || !Number.isInteger(pw) || ph < 1 || pw < 1 || ph > 4096 || pw > 4096)
      throw new ArgumentError(
        `patchNums[${i}]: ${JSON.stringify(size)} was given, accepted is an integer from 1 to 4096 or a pair of them`,
      );
    return [ph, pw];
  });
}

/** The multi-scale residual quantizer (VAR, section 3.2); maps are NHWC. */
export class MultiScaleQuantizer extends Module {
  readonly embedding: Embedding;
  private readonly phis: Phi[];

  constructor(
    private readonly config: VqvaeConfig,
    winograd: 0 | 2 | 4,
    eini = 0,
  ) {
    super('quantize');
    const { vocabSize, zChannels, quantResi, shareQuantResi, patchNums } = config;
    const k = shareQuantResi === K_PER_SCALE ? patchNums.length : shareQuantResi;
    const count = Math.abs(quantResi) > 1e-6 ? k : 0;
    this.phis = Array.from({ length: count }, (_, i) => this.add(new Phi(phiName(shareQuantResi, i), zChannels, quantResi, winograd)));
    this.param('ema_vocab_hit_SV', [patchNums.length, vocabSize], zeros, { buffer: true, optional: true, anyShape: true });
    this.embedding = this.add(
      new Embedding(
        'quantize.embedding',
        vocabSize,
        zChannels,
        eini > 0
          ? { kind: 'truncNormal', std: eini }
          : eini < 0
            ? { kind: 'uniform', bound: -eini / vocabSize }
            : { kind: 'normal', std: 1 },
      ),
    );
  }

  /** The residual convolution of scale `si` of `sn`; without phi the map itself. */
  phi(ops: Ops<Tensor>, h: Tensor, si: number, sn: number): Tensor {
    return this.phis.length === 0 ? h : this.phis[phiIndex(this.phis.length, si, sn)]!.forward(ops, h);
  }

  /** fHat += phi(bicubic(h)), in place; h [B, ph, pw, Cvae], fHat [B, H, W, Cvae]. `keep` subtracts the same from a second map. */
  accumulate(g: Graph, fHat: Tensor, h: Tensor, si: number, sn: number, rest?: Tensor): void {
    const { ops } = g;
    g.scope(() => {
      const [, height, width] = fHat.shape as [number, number, number];
      const full = si === sn - 1 ? h : ops.interpolate(h, { mode: 'bicubic', outH: height, outW: width });
      const y = this.phi(ops, full, si, sn);
      ops.accumulate(fHat, y);
      if (rest) ops.accumulate(rest, y, { alpha: -1 });
    });
  }

  /** Token ids [B, ph * pw] to their codewords as a map [B, ph, pw, Cvae]. */
  embed(ops: Ops<Tensor>, idxBl: Tensor, ph: number, pw: number): Tensor {
    const h = this.embedding.forward(ops, idxBl);
    const map = ops.reshape(h, { shape: [idxBl.shape[0]!, ph, pw, this.config.zChannels] });
    h.dispose();
    return map;
  }

  /** Features f [B, H, W, Cvae] to tokens of every scale, [B, ph * pw] i32, and f_hat after every scale (`fHats`) or after the last. */
  fToScales(g: Graph, f: Tensor, fHats: boolean, patchNums: readonly PatchSize[] = this.config.patchNums): Scales {
    const sizes = patchSizes(patchNums);
    const [b, height, width, c] = f.shape as [number, number, number, number];
    const [lastH, lastW] = sizes.at(-1)!;
    if (lastH !== height || lastW !== width)
      throw new ShapeError(`[quantize] the last token map is ${lastH} x ${lastW}, the features are ${height} x ${width}: they must agree`);
    const { ops } = g;
    return g.scope(() => {
      const rest = copy(ops, f);
      const fHat = ops.fill({ shape: [...f.shape] });
      const out: Scales = { idxBl: [], fHats: [] };
      for (const [si, [ph, pw]] of sizes.entries()) {
        const last = si === sizes.length - 1;
        const idx = g.scope(() => {
          const z = last ? rest : ops.interpolate(rest, { mode: 'area', outH: ph, outW: pw });
          const flat = ops.reshape(z, { shape: [b * ph * pw, c] });
          const nearest = ops.vqLookup(flat, this.embedding.weight, { cosine: this.config.usingZnorm });
          return ops.reshape(nearest, { shape: [b, ph * pw] });
        });
        g.scope(() => this.accumulate(g, fHat, this.embed(ops, idx, ph, pw), si, sizes.length, rest));
        out.idxBl.push(idx);
        if (last) out.fHats.push(fHat);
        else if (fHats) out.fHats.push(copy(ops, fHat));
      }
      return out;
    });
  }

  /**
   * Codeword maps of every scale [B, pn, pn, Cvae] to f_hat after every scale, or after the last alone. `sameShape`: every map is
   * enlarged to the last one's size; otherwise f_hat grows from scale to scale.
   */
  embedToFhat(g: Graph, msH: readonly Tensor[], sameShape: boolean, lastOne: boolean): Tensor[] {
    const { ops } = g;
    const sn = msH.length;
    const c = this.config.zChannels;
    const b = msH[0]!.shape[0]!;
    return g.scope(() => {
      const first = sameShape ? msH.at(-1)! : msH[0]!;
      let fHat = ops.fill({ shape: [b, first.shape[1]!, first.shape[2]!, c] });
      const out: Tensor[] = [];
      for (const [si, h] of msH.entries()) {
        if (sameShape) {
          this.accumulate(g, fHat, h, si, sn);
          if (!lastOne) out.push(copy(ops, fHat));
        } else {
          fHat = ops.interpolate(fHat, { mode: 'bicubic', outH: h.shape[1]!, outW: h.shape[2]! });
          ops.accumulate(fHat, this.phi(ops, h, si, sn));
          if (!lastOne) out.push(fHat);
        }
      }
      return lastOne ? [fHat] : out;
    });
  }

  /** Tokens of all scales to the teacher-forcing input [B, L - firstL, Cvae]; null where `progSi` leaves nothing. */
  idxBlToVarInput(g: Graph, idxBl: readonly Tensor[], progSi = -1): Tensor | null {
    const { patchNums, zChannels } = this.config;
    const sn = patchNums.length;
    const side = patchNums.at(-1)!;
    const b = idxBl[0]!.shape[0]!;
    const { ops } = g;
    return g.scope(() => {
      const fHat = ops.fill({ shape: [b, side, side, zChannels] });
      let out: Tensor | null = null;
      for (let si = 0; si < sn - 1; si++) {
        if (progSi === 0 || (progSi > 0 && progSi - 1 < si)) break;
        const pn = patchNums[si]!;
        const next = patchNums[si + 1]!;
        const part = g.scope(() => {
          this.accumulate(g, fHat, this.embed(ops, idxBl[si]!, pn, pn), si, sn);
          const down = ops.interpolate(fHat, { mode: 'area', outH: next, outW: next });
          return ops.reshape(down, { shape: [b, next * next, zChannels] });
        });
        out = out ? ops.concat(out, part, { axis: 1 }) : part;
      }
      return out;
    });
  }
}

const copy = (ops: Ops<Tensor>, x: Tensor): Tensor => ops.reshape(x, { shape: [...x.shape] });
