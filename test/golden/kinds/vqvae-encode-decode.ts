// Image to features, tokens, f_hat and image of every scale; tokens to VAR input; layer by layer where the case stores layers.
import type { Engine, Tensor, VQVAE } from '../../../ts/index.js';
import {
  type Check,
  compare,
  floats,
  type GoldenCase,
  type Got,
  input,
  ints,
  type KindRunner,
  outputs,
  Taps,
  take,
  toNchw,
  toNhwc,
} from '../kind.js';
import { loadVqvae } from '../weights.js';

/** What one case needs over and over. */
interface Bench {
  readonly c: GoldenCase;
  readonly engine: Engine;
  readonly vqvae: VQVAE;
  readonly x: Tensor;
  readonly checks: Check[];
}

const takeAll = async (tensors: readonly Tensor[]) => await Promise.all(tensors.map(take));

function each(b: Bench, prefix: string, got: readonly Got[], suffix = ''): void {
  for (const [si, g] of got.entries()) b.checks.push(compare(b.c, `${prefix}/${si}`, g, `${prefix}/${si}${suffix}`));
}

/** First image of an NHWC batch as [C, h, w]. */
function firstImage(got: Got): Got {
  const { shape, data } = toNchw(got);
  const [, ch, h, w] = shape as [number, number, number, number];
  return { shape: [ch, h, w], data: Array.from(data as ArrayLike<number>).slice(0, ch * h * w) };
}

async function features(b: Bench): Promise<void> {
  const { c, engine, vqvae, x, checks } = b;
  const taps = new Taps();
  (await vqvae.encode(x, { tap: taps.tap })).dispose();
  const stored = input(c, 'random_fhat');
  const nhwc = toNhwc(floats(stored), stored.shape);
  const fHat = engine.tensor(nhwc.data, nhwc.shape);
  const img = vqvae.fHatToImg(fHat, { tap: taps.tap });
  fHat.dispose();
  checks.push(compare(c, 'random_fhat/img', toNchw(await take(img))));
  checks.push(compare(c, 'random_fhat/raw', toNchw(await taps.get('raw'))));
  for (const name of ['encoder_out', 'f']) checks.push(compare(c, name, toNchw(await taps.get(name))));
  for (const name of outputs(c))
    if (name.startsWith('stage/')) checks.push(compare(c, name, firstImage(await taps.get(name.slice('stage/'.length)))));
}

async function tokens(b: Bench): Promise<void> {
  const { c, vqvae, x } = b;
  const stored = input(c, 'img_u8');
  each(b, 'idx', await takeAll(await vqvae.imgToIdxBl(x)));
  const { data, shape } = toNhwc(stored.data as Uint8Array, stored.shape);
  const [n, height, width] = shape as [number, number, number];
  const size = height * width * 3;
  const images = Array.from({ length: n }, (_, i) => ({ data: data.slice(i * size, (i + 1) * size), width, height }));
  const result = await vqvae.tokenize(images);
  each(
    b,
    'idx',
    result.tokens.map((map) => ({ data: map, shape: [n, map.length / n] })),
    ':tokenize',
  );
}

async function images(b: Bench): Promise<void> {
  const { c, engine, vqvae, x } = b;
  const sn = vqvae.config.patchNums.length;
  const nchw = async (list: readonly Tensor[]) => (await takeAll(list)).map(toNchw);
  each(b, 'f_hat', await nchw(await vqvae.imgToFhat(x)));
  each(b, 'rec', await nchw(await vqvae.imgToReconstructedImg(x)));
  const [last] = await nchw(await vqvae.imgToReconstructedImg(x, { lastOne: true }));
  b.checks.push(compare(c, `rec/${sn - 1}`, last!, `rec/${sn - 1}:lastOne`));
  const idxBl = Array.from({ length: sn }, (_, si) => engine.tensor(ints(input(c, `idx/${si}`)), input(c, `idx/${si}`).shape));
  each(b, 'rec', await nchw(vqvae.idxBlToImg(idxBl, true)), ':idxBlToImg');
  each(b, 'idx_img_growing', await nchw(vqvae.idxBlToImg(idxBl, false)));
  const msH = idxBl.map((idx, si) => vqvae.model.quantize.embed(engine.ops, idx, vqvae.config.patchNums[si]!, vqvae.config.patchNums[si]!));
  each(b, 'rec', await nchw(vqvae.embedToImg(msH, true)), ':embedToImg');
  b.checks.push(compare(c, 'var_input', await take(vqvae.idxBlToVarInput(idxBl)!)));
  for (const tensor of [...idxBl, ...msH]) tensor.dispose();
}

async function customSizes(b: Bench): Promise<void> {
  const { c, vqvae, x } = b;
  const patchNums = c.json.custom_patch_nums as readonly (number | readonly [number, number])[] | null;
  if (!patchNums) return;
  each(b, 'custom_idx', await takeAll(await vqvae.imgToIdxBl(x, { patchNums })));
  const fHats = await vqvae.imgToFhat(x, { patchNums });
  b.checks.push(compare(c, 'custom_f_hat_last', toNchw((await takeAll(fHats)).at(-1)!)));
}

export const run: KindRunner = async (c, { engine }) => {
  const vqvae = await loadVqvae(c, engine);
  const stored = input(c, 'img_u8');
  const { data, shape } = toNhwc(stored.data as Uint8Array, stored.shape);
  const x = engine.scope(() => engine.ops.imageToUnit(engine.tensor(data, shape)));
  const bench: Bench = { c, engine, vqvae, x, checks: [] };
  try {
    await features(bench);
    await tokens(bench);
    await images(bench);
    await customSizes(bench);
  } finally {
    x.dispose();
    vqvae.dispose();
  }
  return bench.checks;
};
