// Checked by tsc alone: what the public types accept and what they refuse.
import {
  AbortError,
  AdamW,
  type Batch,
  type BatchSource,
  buildVar,
  buildVqvae,
  type Checkpoint,
  createEngine,
  type Engine,
  type GenerateResult,
  type ImageBatch,
  ImageLoader,
  LOOP_DEFAULTS,
  type LossTerm,
  ModelOptimizer,
  type NextscaleError,
  OptimizerStep,
  type openCheckpoint,
  openDataset,
  type Parameters,
  type RgbImage,
  type ScalePreview,
  type StepInfo,
  Tape,
  type Task,
  type Tensor,
  type Tokens,
  type TrainEvent,
  type TrainResult,
  train,
  VAR,
  type VarConfig,
  type VarPresetName,
  VarTask,
  VQVAE,
  type VqvaeConfig,
  VqvaeTask,
  varArgs,
  vqvaeArgs,
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

export async function trains(engine: Engine, task: Task<ImageBatch>, params: Parameters, model: VQVAE): Promise<void> {
  const batches = await ImageLoader.open(await openDataset('photos', { split: 'val' }), { mode: 'train', batchSize: 4, reso: 64 });
  const optimizer = new ModelOptimizer(params, new OptimizerStep(new AdamW(params, { bits: 8 }), { clip: 2, accumulation: 2 }));
  const config = { ...LOOP_DEFAULTS, ep: 1, tlr: 1e-3, twd: 0, twde: 0 };
  const result = await train({
    task,
    optimizer,
    batches,
    config,
    out: 'run',
    resume: 'never',
    onEvent: (event) => {
      sure<Equal<typeof event, TrainEvent>>();
      if (event.type === 'step') sure<Equal<typeof event.gradNorm, number | undefined>>();
      if (event.type === 'eval') sure<Equal<typeof event.metrics, Record<string, number>>>();
    },
  });
  sure<Equal<typeof result, TrainResult>>();
  const run = await buildVqvae(engine, vqvaeArgs({ data_path: 'photos', V: 64 }));
  await train({ ...run, out: 'run' });
  const other = await buildVar(engine, varArgs({ depth: 2 }));
  await train({ ...other, out: 'run' });
  sure<Equal<typeof other.batches, BatchSource<Batch>>>();
  const term: LossTerm = { name: 'zero', weight: 1, apply: (g, x, rec) => g.ops.pairLoss(rec, x, { kind: 'l1' }) };
  const own: Task<ImageBatch> = await VqvaeTask.create(engine, { extraLosses: [term], kmeans: false });
  const second: Task = await VarTask.create(engine, { weights: await weightsOf(model) }, { config: { depth: 2 } });
  sure<Equal<typeof own.best.metric | typeof second.best.metric, string>>();
  using tape = new Tape(engine);
  const loss = tape.run(() => tape.ops.reduce(engine.tensor(Float32Array.of(1, 2), [1, 2]), { fn: 'mean' }));
  sure<Equal<ReturnType<typeof tape.backward>, Promise<void>>>();
  await tape.backward(loss, { scale: 2 });
}

declare function weightsOf(model: VQVAE): Promise<Checkpoint>;

export async function refusesTraining(engine: Engine, task: Task<ImageBatch>, params: Parameters, info: StepInfo): Promise<void> {
  // @ts-expect-error moments have 32 or 8 bits
  new AdamW(params, { bits: 16 });
  // @ts-expect-error a tape needs an engine
  new Tape();
  // @ts-expect-error a run needs a folder
  await train({ task, config: { ...LOOP_DEFAULTS, ep: 1, tlr: 1, twd: 0, twde: 0 } });
  // @ts-expect-error tokens are no images
  await task.step({ kind: 'tokens', tokens: new Int32Array(1), labels: new Int32Array(1), indices: new Int32Array(1) }, info);
  // @ts-expect-error an unknown setting
  await VqvaeTask.create(engine, { codebook: 3 });
  // @ts-expect-error what a step is told is read-only
  info.gIt = 3;
}

// Nothing of the public surface is `any`.
sure<Equal<IsAny<Awaited<ReturnType<typeof openCheckpoint>>>, false>>();
sure<Equal<IsAny<VarConfig[keyof VarConfig]>, false>>();
sure<Equal<IsAny<VqvaeConfig[keyof VqvaeConfig]>, false>>();
sure<Equal<IsAny<Awaited<ReturnType<typeof buildVar>>[keyof Awaited<ReturnType<typeof buildVar>>]>, false>>();
sure<Equal<IsAny<ReturnType<typeof varArgs>['depth']>, false>>();
sure<Equal<VarPresetName, 'd16' | 'd20' | 'd24' | 'd30' | 'd36-s'>>();
sure<Equal<ReturnType<typeof createEngine>, Promise<Engine>>>();
