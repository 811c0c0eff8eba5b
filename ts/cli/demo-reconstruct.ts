// The first half of the demo: pictures through an untrained VQVAE, and proof that the quantisation converges over the scales.
import type { RawImage } from '../data/index.js';
import type { Engine, Tensor } from '../engine/index.js';
import { type VqvaeConfig, VqvaeModel } from '../models/vqvae/index.js';
import { InitSource, WeightReader } from '../nn/index.js';
import { VQVAE } from '../sample/index.js';
import { cholesky, nearIdentity, OverlaySource, relativeDistance, secondMoment, spreadCodes } from './demo-codebook.js';
import { psnr } from './grid.js';

const CODEBOOK = 'quantize.embedding.weight';
const PHI = /^quantize\.quant_resi\..*weight$/;
/** Random part of phi's convolutions. */
const PHI_SHARE = 0.25;

export interface Converged {
  /** tokens per picture over all scales */
  tokens: number;
  rows: ConvergedRow[];
  /** decode(f), the limit without quantisation, per picture */
  limit: RawImage[];
}

export interface ConvergedRow {
  patchNum: number;
  /** |f - fHat_k| / |f| over all pictures */
  residual: number;
  /** PSNR of decode(fHat_k) against decode(f), dB, per picture */
  psnr: number[];
  pictures: RawImage[];
}

/** Random weights of this seed, with a random codebook that follows the second moment of the pictures' features, and phi near the identity. */
export async function seededVqvae(engine: Engine, config: VqvaeConfig, seed: number, pictures: readonly RawImage[]): Promise<VQVAE> {
  const model = new VqvaeModel(config);
  const random = new InitSource(model.parameters(), seed);
  try {
    await model.loadEncoding(new WeightReader(engine, random));
    const c = config.zChannels;
    const x = toTensor(engine, pictures);
    const f = model.encode(engine, x);
    const rows = (await f.read()) as Float32Array;
    x.dispose();
    f.dispose();
    const values = new Map<string, Float32Array>();
    for (const { name } of model.quantize.parameters()) {
      const drawn = await drawnValues(engine, random, name);
      if (name === CODEBOOK) values.set(name, spreadCodes(drawn, cholesky(secondMoment(rows, c), c), c));
      else if (PHI.test(name)) values.set(name, nearIdentity(drawn, c, PHI_SHARE));
    }
    return await VQVAE.load(engine, new OverlaySource(random, values), { ...config });
  } finally {
    model.dispose();
  }
}

async function drawnValues(engine: Engine, source: InitSource, name: string): Promise<Float32Array> {
  const tensor = source.load(engine, name);
  const values = (await tensor.read()) as Float32Array;
  tensor.dispose();
  return values;
}

function toTensor(engine: Engine, pictures: readonly RawImage[]): Tensor {
  const { width, height } = pictures[0]!;
  const bytes = new Uint8Array(pictures.length * width * height * 3);
  for (const [i, picture] of pictures.entries()) bytes.set(picture.data, i * width * height * 3);
  return engine.scope(() => engine.ops.imageToUnit(engine.tensor(bytes, [pictures.length, height, width, 3], 'u8')));
}

/** Encodes, quantises scale by scale and decodes every step; step is called after each decoded scale. */
export async function converge(
  vqvae: VQVAE,
  pictures: readonly RawImage[],
  signal: AbortSignal,
  step: (note: string) => void,
): Promise<Converged> {
  const { engine } = vqvae;
  const { patchNums } = vqvae.config;
  using scope = engine.openScope({ signal });
  const x = scope.adopt(toTensor(engine, pictures));
  const f = scope.adopt(await vqvae.encode(x));
  const { idxBl, fHats } = scope.run(() => vqvae.model.quantize.fToScales(engine, f, true));
  const features = (await f.read({ signal })) as Float32Array;
  const limit = await vqvae.decodeFhat(f, { signal });
  step('without quantisation');
  const rows: ConvergedRow[] = [];
  for (const [si, fHat] of fHats.entries()) {
    const residual = relativeDistance(features, (await fHat.read({ signal })) as Float32Array);
    const images = await vqvae.decodeFhat(fHat, { signal });
    rows.push({ patchNum: patchNums[si]!, residual, psnr: images.map((image, i) => psnr(limit[i]!.data, image.data)), pictures: images });
    step(`after ${patchNums[si]} x ${patchNums[si]}`);
  }
  const tokens = idxBl.reduce((sum, idx) => sum + idx.size, 0) / pictures.length;
  return { tokens, rows, limit };
}
