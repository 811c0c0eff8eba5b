// Training steps against the PyTorch reference: same shapes, same machine, same run, in turn; medians and ratios.
// VAR_REPO=<checkout of FoundationVision/VAR> node --import tsx bench/peers/train.ts [--jobs var,vqvae,d16] [--python python3]
// d16-lean is d16 with 8-bit moments (--opt_bits 8). Peak memory is that of the process: give the job whose memory counts alone.
// --peer false measures this side alone.
import { parseArgs } from 'node:util';
import type { Batch } from '../../ts/data/index.js';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { VqvaeModel, vqvaeConfig } from '../../ts/models/vqvae/index.js';
import { InitSource } from '../../ts/nn/index.js';
import { AdamW, OptimizerStep } from '../../ts/optim/index.js';
import { VarTask } from '../../ts/train/var/index.js';
import { VqvaeTask } from '../../ts/train/vqvae/index.js';
import { clock, Peer, record } from './peer.js';

const { values: options } = parseArgs({
  options: {
    jobs: { type: 'string', default: 'var,vqvae' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '7' },
    peer: { type: 'string', default: 'true' },
    python: { type: 'string', default: 'python3' },
    out: { type: 'string', default: 'bench/results/peers.jsonl' },
  },
});
const threads = Number(options.threads);
const runs = Number(options.runs);

interface Job {
  readonly title: string;
  readonly family: 'var' | 'vqvae';
  readonly batch: number;
  readonly reso: number;
  readonly vqvae: { vocabSize: number; zChannels: number; ch: number; patchNums: number[] };
  readonly var?: { numClasses: number; depth: number; embedDim: number; numHeads: number };
  /** Bits of a stored moment of this side; the peer has 32. */
  readonly bits?: 8 | 32;
  readonly checkpointing?: boolean;
}

const PATCHES = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];
const JOBS: Readonly<Record<string, Job>> = {
  var: {
    title: 'train step VAR depth 4 width 256, L 680, batch 4',
    family: 'var',
    batch: 4,
    reso: 256,
    vqvae: { vocabSize: 4096, zChannels: 32, ch: 32, patchNums: PATCHES },
    var: { numClasses: 10, depth: 4, embedDim: 256, numHeads: 4 },
  },
  vqvae: {
    title: 'train step VQVAE ch 64, 64x64, batch 16',
    family: 'vqvae',
    batch: 16,
    reso: 64,
    vqvae: { vocabSize: 4096, zChannels: 32, ch: 64, patchNums: [1, 2, 3, 4] },
  },
  d16: {
    title: 'train step VAR d16, L 680, batch 1',
    family: 'var',
    batch: 1,
    reso: 256,
    vqvae: { vocabSize: 4096, zChannels: 32, ch: 32, patchNums: PATCHES },
    var: { numClasses: 1000, depth: 16, embedDim: 1024, numHeads: 16 },
  },
};

const LEAN: Readonly<Record<string, Job>> = {
  'd16-lean': { ...JOBS.d16!, title: `${JOBS.d16!.title}, 8-bit moments`, bits: 8 },
  'd16-least': { ...JOBS.d16!, title: `${JOBS.d16!.title}, 8-bit moments, checkpointed blocks`, bits: 8, checkpointing: true },
};

function randomBatch(job: Job, seed: number): Batch {
  let state = seed + 1;
  const draw = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const labels = Int32Array.from({ length: job.batch }, () => draw(job.var?.numClasses ?? 1));
  const indices = Int32Array.from({ length: job.batch }, (_, i) => seed * job.batch + i);
  if (job.family === 'vqvae') {
    const pixels = Uint8Array.from({ length: job.batch * job.reso ** 2 * 3 }, () => draw(256));
    return { kind: 'images', pixels, reso: job.reso, labels, indices };
  }
  const length = job.vqvae.patchNums.reduce((sum, pn) => sum + pn * pn, 0);
  const tokens = Int32Array.from({ length: job.batch * length }, () => draw(job.vqvae.vocabSize));
  return { kind: 'tokens', tokens, labels, indices };
}

async function makeTask(engine: Engine, job: Job): Promise<VarTask | VqvaeTask> {
  const config = vqvaeConfig(job.vqvae);
  if (job.family === 'vqvae') return await VqvaeTask.create(engine, { config, kmeans: false, restart: false });
  const weights = new InitSource(new VqvaeModel(config).parameters(), 0);
  return await VarTask.create(
    engine,
    { config, weights },
    { config: { ...job.var, condDropRate: 0 }, dropPathRate: 0, checkpointing: job.checkpointing ?? false },
  );
}

async function run(job: Job): Promise<void> {
  const setup = { batch: job.batch, reso: job.reso, vqvae: job.vqvae, var: job.var };
  const alone = options.peer === 'false';
  const start = () => Peer.start(options.python, 'train_reference.py', [job.family, String(threads), JSON.stringify(setup)]);
  const { peer, torch } = alone ? { peer: undefined, torch: undefined } : await start();
  // Little cache: what a step needs at most is part of the comparison.
  const engine = await createEngine({ threads, maxCachedBytes: 2 ** 28 });
  const task = await makeTask(engine, job);
  const optimizer = new AdamW(task.params, { betas: [0.9, 0.95], bits: job.bits ?? 32 });
  const stepper = new OptimizerStep(optimizer, { clip: 2 });
  for (const group of stepper.groups) group.lr = 1e-4;
  const times: [number[], number[]] = [[], []];
  let peakBytes = 0;
  for (let i = 0; i <= runs; i++) {
    const info = { ep: 0, it: i, gIt: i, itersPerEp: runs, maxIt: runs, stepping: true, lossScale: 1, log: false, detailed: false };
    const [seconds] = await clock(async () => {
      task.params.zeroGrads();
      await task.step(randomBatch(job, i) as never, info);
      await stepper.run();
      await engine.flush();
    });
    const theirs = await peer?.ask({ cmd: 'step', seed: i });
    peakBytes = theirs?.peakBytes ?? 0;
    if (i === 0) continue; // warm-up
    times[0].push(seconds);
    if (theirs) times[1].push(theirs.seconds);
  }
  const memory = { ours: engine.memory().peakBytes, theirsRss: peakBytes, oursRss: process.resourceUsage().maxRSS * 1024 };
  if (alone) process.stdout.write(`${job.title}: ${times[0].map((s) => s.toFixed(2)).join(' ')} s, ${JSON.stringify(memory)}\n`);
  else record(options.out, job.title, times[0], times[1], { threads, torch, memory });
  if (process.env.NEXTSCALE_OPS_TABLE) {
    const ops = Object.entries(engine.stats().ops).sort((a, b) => b[1].ms - a[1].ms);
    for (const [name, { count, ms }] of ops.slice(0, 14))
      process.stdout.write(
        `  ${name.padEnd(20)} ${String(Math.round(count / (runs + 1))).padStart(6)} calls ${(ms / (runs + 1)).toFixed(1).padStart(8)} ms a step\n`,
      );
  }
  peer?.stop();
  await engine.close();
}

for (const name of options.jobs.split(',')) {
  const job = JOBS[name] ?? LEAN[name];
  if (!job) throw new Error(`--jobs: ${name} is none of ${Object.keys({ ...JOBS, ...LEAN }).join(', ')}`);
  await run(job);
}
