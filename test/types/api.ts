// Checked by tsc alone: what the public types accept and what they refuse.
import {
  AbortError,
  type Checkpoint,
  createEngine,
  type Engine,
  type GenerateResult,
  type NextscaleError,
  type openCheckpoint,
  type RgbImage,
  type ScalePreview,
  type Tensor,
  type Tokens,
  VAR,
  type VarConfig,
  type VarPresetName,
  VQVAE,
  type VqvaeConfig,
} from '../../ts/index.js';

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type IsAny<T> = 0 extends 1 & T ? true : false;
const sure = <T extends true>(): T | undefined => undefined;

export async function uses(engine: Engine, file: Checkpoint): Promise<void> {
  await using vqvae = await VQVAE.load(engine, 'vae_ch160v4096z32.pth', { winograd: 4, patchNums: [1, 2, 3], encoder: 'eager' });
  await using model = await VAR.load(engine, file, { vqvae, preset: 'd16', dtype: 'f16', config: { numClasses: 10 } });
  const generation = model.generate({
    labels: [1, 2],
    seed: [3, 4],
    cfg: 4,
    topK: [900, 0],
    topP: 0.95,
    perImage: [{ cfg: 1 }, {}],
    signal: AbortSignal.timeout(1),
  });
  const result = await generation;
  sure<Equal<typeof result, GenerateResult>>();
  sure<Equal<typeof result.images, RgbImage[]>>();
  sure<Equal<typeof result.tokens, Int32Array[]>>();
  for await (const preview of generation) sure<Equal<typeof preview, ScalePreview>>();
  const tokens = await vqvae.tokenize(['a.jpg', { data: new Uint8Array(3), width: 1, height: 1 }], { patchNums: [1, [2, 3]] });
  sure<Equal<typeof tokens, Tokens>>();
  await vqvae.decode(tokens, { everyScale: true });
  await vqvae.decode(tokens.tokens, { count: 2 });
  const logits = model.forward([1], null, {
    progSi: 0,
    tap: (name, tensor) => sure<Equal<typeof tensor, Tensor> & Equal<typeof name, string>>(),
  });
  sure<Equal<typeof logits, Tensor>>();
  engine.on('scale', ({ scale, of, patchNum }) => sure<Equal<typeof scale | typeof of | typeof patchNum, number>>());
  const error: NextscaleError = new AbortError();
  sure<Equal<typeof error.code, string>>();
}

export async function refuses(engine: Engine, vqvae: VQVAE, model: VAR): Promise<void> {
  // @ts-expect-error a VAR needs its VQVAE
  await VAR.load(engine, 'var_d16.pth', {});
  // @ts-expect-error an unknown preset
  await VAR.init(engine, { vqvae, preset: 'd17' });
  // @ts-expect-error weights cannot be i32
  await VAR.load(engine, 'var_d16.pth', { vqvae, dtype: 'i32' });
  // @ts-expect-error labels are numbers
  model.generate({ labels: ['cat'] });
  // @ts-expect-error an unknown option
  model.generate({ labels: 1, top_k: 3 });
  // @ts-expect-error token maps are Int32Arrays
  await vqvae.decode([[1, 2]]);
  // @ts-expect-error an image has a size
  await vqvae.tokenize({ data: new Uint8Array(3) });
  // @ts-expect-error a configuration has no such field
  await VQVAE.load(engine, 'vae.pth', { vocab: 3 });
  // @ts-expect-error results are read-only
  (await model.generate({ labels: 1 })).seed = 3;
  // @ts-expect-error an unknown device
  await createEngine({ device: 'tpu' });
}

// Nothing of the public surface is `any`.
sure<Equal<IsAny<Awaited<ReturnType<typeof openCheckpoint>>>, false>>();
sure<Equal<IsAny<VarConfig[keyof VarConfig]>, false>>();
sure<Equal<IsAny<VqvaeConfig[keyof VqvaeConfig]>, false>>();
sure<Equal<VarPresetName, 'd16' | 'd20' | 'd24' | 'd30' | 'd36-s'>>();
sure<Equal<ReturnType<typeof createEngine>, Promise<Engine>>>();
