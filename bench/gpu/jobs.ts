// Whole jobs on a GPU, with seeded random weights: images by VAR d16 and d30 in bf16, one by one and 64 at once, as a graph and call by call, with
// the decoder and without; a training step of d16. With --peer PYTHON the reference VAR in PyTorch ($VAR_REPO), eager and compiled, in turn.
//   node --import tsx bench/gpu/jobs.ts [--out FILE] [--depths 16,30] [--batches 1,64] [--peer python3] [--no-compile] [--smoke]
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createEngine, type Engine, type GenerateResult, VAR, VQVAE } from '../../ts/index.js';
import { deviceSource } from './calls.js';
import { Peer } from './peer.js';
import { machineOf, Results } from './results.js';
import { PATCHES, type Spec, workOf } from './specs.js';
import { FULL, median, SMOKE, spread, timeOf } from './timing.js';
import { modelFlops, openTrainer, type TrainJob } from './train-step.js';

const { values: options } = parseArgs({
  allowNegative: true,
  options: {
    out: { type: 'string' },
    depths: { type: 'string', default: '16,30' },
    batches: { type: 'string', default: '1,64' },
    runs: { type: 'string', default: '5' },
    peer: { type: 'string' },
    scripts: { type: 'string', default: dirname(fileURLToPath(import.meta.url)) },
    compile: { type: 'boolean', default: true },
    // Every line once, with models of no meaning, on the emulation or the CPU; nothing is written.
    smoke: { type: 'boolean', default: false },
  },
});
const tiny = { patchNums: [1, 2], depth: 2, embedDim: 64, ch: 32, batch: 2 };
const [depths, batches] = options.smoke
  ? [[tiny.depth], [1, tiny.batch]]
  : [options.depths, options.batches].map((list) => list.split(',').map(Number));
const runs = options.smoke ? 1 : Number(options.runs);
const patchNums = options.smoke ? tiny.patchNums : PATCHES;
const ch = options.smoke ? tiny.ch : 160;
const widthOf = (depth: number): number => (options.smoke ? tiny.embedDim : 64 * depth);

const open = (): Promise<Engine> =>
  createEngine({ device: options.smoke && !process.env.NEXTSCALE_DEVICE ? 'cpu' : 'cuda', maxCachedBytes: 2 ** 34 });
if (options.smoke) process.stdout.write('smoke: sizes and times without a meaning\n');
const first = await open();
const results = new Results(options.smoke ? undefined : options.out, machineOf(first));
await first.close();
type Variant = 'eager' | 'compiled';
let failed = 0;

async function clock<T>(work: () => PromiseLike<T>): Promise<[number, T]> {
  const start = performance.now();
  const value = await work();
  return [(performance.now() - start) / 1000, value];
}

/** One peer per job and variant: its memory is its own. */
async function openPeer(setup: object): Promise<Peer | undefined> {
  if (!options.peer) return undefined;
  const peer = await Peer.start(options.peer, options.scripts, 'torch_jobs.py', options.smoke);
  const { missing } = await peer.ask({ cmd: 'open', ...setup });
  if (!missing) return peer;
  peer.stop();
  process.stdout.write(`torch: ${missing}\n`);
  return undefined;
}

interface Sampled {
  readonly times: { name: string; seconds: number[] }[];
  readonly peakBytes: number;
}

async function sampleOurs(engine: Engine, depth: number, batch: number): Promise<Sampled> {
  const vqvae = await VQVAE.init(engine, { ch, vocabSize: 4096, zChannels: 32, patchNums: [...patchNums], precision: 'bf16' });
  const config = { depth, embedDim: widthOf(depth), numHeads: widthOf(depth) / 64 };
  const model = await VAR.init(engine, { vqvae, config, precision: 'bf16', seed: 1 });
  const request = { labels: Array.from({ length: batch }, (_, i) => i % 1000), cfg: 4, topK: 900, topP: 0.95 };
  const [graph, calls, decode]: [number[], number[], number[]] = [[], [], []];
  let result: GenerateResult | undefined;
  for (let i = 0; i <= runs; i++) {
    const [seconds, recorded] = await clock(() => model.generate({ ...request, seed: i, graph: true }));
    const [plain, value] = await clock(() => model.generate({ ...request, seed: i, graph: false }));
    // Both are the same program.
    if (recorded.images.some(({ data }, k) => Buffer.compare(data, value.images[k]!.data) !== 0))
      throw new Error('the graph gives other images');
    result = value;
    const [decoding] = await clock(() => vqvae.decode(result!.tokens));
    if (i === 0) continue; // warm-up
    graph.push(seconds);
    calls.push(plain);
    decode.push(decoding);
  }
  const { peakBytes } = engine.memory();
  model.dispose();
  vqvae.dispose();
  const times = [
    { name: 'graph', seconds: graph },
    { name: 'calls', seconds: calls },
    { name: 'tokens to images alone', seconds: decode },
    { name: 'graph without decoder', seconds: graph.map((s, i) => s - decode[i]!) },
  ];
  return { times, peakBytes };
}

async function samplePeer(depth: number, batch: number, variant: Variant): Promise<Sampled | undefined> {
  const peer = await openPeer({ job: 'generate', depth, batch, variant, patchNums, ch, embedDim: widthOf(depth) });
  if (!peer) return undefined;
  const [total, without]: [number[], number[]] = [[], []];
  let peakBytes = 0;
  for (let i = 0; i <= runs; i++) {
    const answer = await peer.ask({ cmd: 'generate', seed: i });
    peakBytes = answer.peakBytes ?? 0;
    if (i === 0) continue;
    total.push(answer.seconds);
    without.push(answer.seconds - (answer.decoder ?? 0));
  }
  peer.stop();
  const times = [
    { name: `torch ${peer.version} ${variant}`, seconds: total },
    { name: `torch ${peer.version} ${variant} without decoder`, seconds: without },
  ];
  return { times, peakBytes };
}

function report(job: string, batch: number, { times, peakBytes }: Sampled, extra: object = {}): void {
  for (const { name, seconds } of times) {
    const s = median(seconds);
    results.add(
      { kind: 'job', job, how: name, batch, ...spread(seconds), perSecond: batch / s, peakBytes, ...extra },
      `${job}, ${name}: ${(1e3 * s).toFixed(1)} ms, ${(batch / s).toFixed(2)} images/s, peak ${(peakBytes / 2 ** 30).toFixed(2)} GiB`,
    );
  }
}

async function generate(depth: number, batch: number): Promise<void> {
  const job = `generate d${depth} bf16 batch ${batch}`;
  const engine = await open();
  try {
    report(job, batch, await sampleOurs(engine, depth, batch));
  } finally {
    await engine.close();
  }
  await generateByPeer(depth, batch, 'eager');
}

async function generateByPeer(depth: number, batch: number, variant: Variant): Promise<void> {
  const theirs = options.peer && (await samplePeer(depth, batch, variant));
  if (theirs) report(`generate d${depth} bf16 batch ${batch}`, batch, theirs);
}

async function productRate(engine: Engine): Promise<number> {
  const n = options.smoke ? 64 : 8192;
  const s: Spec = { op: 'linear', dtype: 'bf16', M: n, N: n, K: n };
  return workOf(s).flops / median(await timeOf(engine, deviceSource(engine), s, options.smoke ? SMOKE : FULL));
}

const trainJob = (depth: number): TrainJob => ({
  depth,
  embedDim: widthOf(depth),
  batch: options.smoke ? tiny.batch : 32,
  patchNums,
  precision: 'bf16',
});
const trainName = (job: TrainJob): string => `training step d${job.depth} bf16 batch ${job.batch}`;

async function train(depth: number): Promise<void> {
  const job = trainJob(depth);
  const name = trainName(job);
  const engine = await open();
  try {
    const rate = await productRate(engine);
    const trainer = await openTrainer(engine, job);
    const seconds: number[] = [];
    for (let i = 0; i <= runs + 1; i++) {
      const s = await trainer.step(i);
      if (i > 1 || options.smoke) seconds.push(s);
    }
    const share = modelFlops(job) / median(seconds) / rate;
    const { peakBytes } = engine.memory();
    trainer.close();
    process.stdout.write(`${name}: ${(100 * share).toFixed(1)} % of the measured rate of products\n`);
    report(
      name,
      job.batch,
      { times: [{ name: 'nextscale', seconds }], peakBytes },
      { ofProducts: share, flops: modelFlops(job), productRate: rate },
    );
  } finally {
    await engine.close();
  }
  await trainByPeer(depth, 'eager');
}

async function trainByPeer(depth: number, variant: Variant): Promise<void> {
  const job = trainJob(depth);
  const peer = await openPeer({ ...job, job: 'train', variant, ch: 32 });
  if (!peer) return;
  const seconds: number[] = [];
  let peakBytes = 0;
  for (let i = 0; i <= runs + 1; i++) {
    const answer = await peer.ask({ cmd: 'step', seed: i });
    peakBytes = answer.peakBytes ?? 0;
    if (i > 1 || options.smoke) seconds.push(answer.seconds);
  }
  peer.stop();
  report(trainName(job), job.batch, { times: [{ name: `torch ${peer.version} ${variant}`, seconds }], peakBytes });
}

async function attempt(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (e) {
    failed++;
    results.add({ kind: 'failure', name, error: (e as Error).message }, `${name}: FAIL ${(e as Error).message}`);
  }
}

const pairs = depths!.flatMap((depth) => batches!.map((batch) => [depth, batch] as const));
for (const [depth, batch] of pairs) await attempt(`generate d${depth} batch ${batch}`, () => generate(depth, batch));
await attempt('training step', () => train(depths![0]!));
// It compiles for minutes, so it comes last.
if (options.peer && options.compile) {
  for (const [depth, batch] of pairs) await attempt(`compiled d${depth} batch ${batch}`, () => generateByPeer(depth, batch, 'compiled'));
  await attempt('compiled training step', () => trainByPeer(depths![0]!, 'compiled'));
}
process.exitCode = failed > 0 ? 1 : 0;
