// Trains a VQVAE and a VAR on CIFAR-10 photos with the commands of the project, and compares both with plain baselines: bicubic enlargement from
// 16x16 for the VQVAE, the frequencies of the training tokens for the VAR.
// With --report nothing is trained: the runs are there.
// node --import tsx bench/train/cifar10.ts --data FOLDER [--out runs/cifar10] [--vae_ep 14] [--var_ep 4]
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { bicubicPsnr, tokenFrequencies } from './baselines.js';
import { writeChart } from './chart.js';
import { readRunLog } from './run-log.js';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string' },
    out: { type: 'string', default: 'runs/cifar10' },
    vae_ep: { type: 'string', default: '14' },
    var_ep: { type: 'string', default: '4' },
    report: { type: 'boolean', default: false },
    // of the code that trained, where it was another
    commit: { type: 'string' },
    results: { type: 'string', default: 'bench/results' },
  },
});
if (!options.data) throw new Error('--data is needed: a folder with train/<class>/* and val/<class>/*');
const { data, out, results } = options;
const RESO = 32;

const VQVAE = [
  ...['train', 'vqvae', '--data', data, '--out', join(out, 'vae'), '--ep', options.vae_ep, '--val_ep', '2', '--seed', '0'],
  ...['--ch', '32', '--groups', '8', '--ch_mult', '1_1', '--num_res_blocks', '1', '--pn', '1_2_4_8_16', '--V', '1024', '--Cvae', '8'],
  ...[
    '--bs',
    '8',
    '--tblr',
    '0.048',
    '--twd',
    '0',
    '--wp',
    '0.5',
    '--vq_weight',
    '0.25',
    '--winograd',
    '4',
    '--hflip',
    '1',
    '--mid_reso',
    '1',
  ],
];
const vae = join(out, 'vae', 'vae.safetensors');
const tokens = (split: string) => [
  'data',
  'tokens',
  data,
  '--vae',
  vae,
  '--split',
  split,
  '--out',
  join(out, `tokens-${split}`),
  '--mid-reso',
  '1',
];
const VAR = [
  ...[
    'train',
    'var',
    '--data',
    data,
    '--vae',
    vae,
    '--tokens',
    join(out, 'tokens-train'),
    '--tokens_val',
    join(out, 'tokens-val'),
    '--mid_reso',
    '1',
  ],
  ...['--out', join(out, 'var'), '--ep', options.var_ep, '--val_ep', '1', '--seed', '0'],
  ...['--depth', '4', '--width', '128', '--heads', '2', '--saln', '1', '--bs', '16', '--tblr', '0.032', '--wp', '0.25'],
];

function nextscale(args: readonly string[]): void {
  process.stdout.write(`\nnextscale ${args.join(' ')}\n`);
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', 'ts/cli/main.ts', ...args], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`nextscale ${args[0]} ${args[1]} ended with ${status}`);
}

if (!options.report) for (const args of [VQVAE, tokens('train'), tokens('val'), VAR]) nextscale(args);
const [vqvae, transformer] = [readRunLog(join(out, 'vae')), readRunLog(join(out, 'var'))];
const bicubic = await bicubicPsnr(data, RESO, 16, 1);
const frequency = await tokenFrequencies(join(out, 'tokens-train'), join(out, 'tokens-val'));
const best = (name: string, log: typeof vqvae, smaller: boolean) => {
  const values = log.evals.map((e) => e.metrics[name]!);
  return smaller ? Math.min(...values) : Math.max(...values);
};
const row = {
  job: 'train cifar10 32x32',
  vqvae: {
    psnr: best('psnr', vqvae, false),
    // The first evaluation that beats the enlargement, and the best within twenty minutes.
    minutesToBeatBicubic: vqvae.evals.find((e) => e.metrics.psnr! > bicubic)?.minutes,
    psnrIn20Minutes: Math.max(...vqvae.evals.filter((e) => e.minutes <= 20).map((e) => e.metrics.psnr!)),
    bicubicFrom16: bicubic,
    usage: vqvae.evals.at(-1)!.metrics.usage,
    perplexity: vqvae.evals.at(-1)!.metrics.perplexity,
    trainingMinutes: vqvae.minutes,
  },
  var: {
    crossEntropy: best('vL_mean', transformer, true),
    frequencyOfTokens: frequency.pooled,
    frequencyPerScale: frequency.perScale,
    trainingMinutes: transformer.minutes,
  },
  commands: [VQVAE, VAR].map((args) => args.join(' ').replaceAll(data, 'DATA').replaceAll(out, 'OUT')),
  device: cpus()[0]?.model,
  threads: cpus().length,
  commit: options.commit ?? execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim(),
};
mkdirSync(results, { recursive: true });
appendFileSync(join(results, 'train.jsonl'), `${JSON.stringify(row)}\n`);
const curve = (log: typeof vqvae, name: string) => log.evals.map((e) => [e.minutes, e.metrics[name]!] as const);
await writeChart(join(results, 'cifar10-vqvae.png'), {
  title: 'VQVAE on CIFAR-10, 32x32, 2 threads',
  x: 'minutes of training',
  y: 'PSNR of validation photos, dB',
  series: [{ name: 'reconstruction', points: curve(vqvae, 'psnr') }],
  marks: [{ name: 'bicubic from 16x16', y: bicubic }],
});
await writeChart(join(results, 'cifar10-var.png'), {
  title: 'VAR on its tokens, 2 threads',
  x: 'minutes of training',
  y: 'cross-entropy per validation token, nats',
  series: [{ name: 'VAR', points: curve(transformer, 'vL_mean') }],
  marks: [
    { name: 'token frequencies', y: frequency.pooled },
    { name: 'per scale', y: frequency.perScale },
  ],
});
process.stdout.write(`${JSON.stringify(row, null, 2)}\n`);
