// Makes models/clothing64 with the commands of the project: trains a VQVAE, computes tokens, trains a VAR on them, stores both in f16, and
// writes README.md, curves.png and pictures of the demo beside it, numbers from the logs of the runs.
// node --import tsx bench/train/clothing.ts --data FOLDER [--runs runs/clothing64] [--out models/clothing64]
// With --report nothing is trained: the runs are there.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { bicubicPsnr, tokenFrequencies } from './baselines.js';
import { exportCheckpoint } from './clothing-export.js';
import { type Facts, readIndex, readme, type Step } from './clothing-readme.js';
import { writeCurves } from './curves.js';
import { readRunLog } from './run-log.js';

const SEED = 0;
const RESO = 64;
const VQVAE = [
  ...['--ch', '32', '--groups', '8', '--ch_mult', '1_1_2_2', '--num_res_blocks', '1'],
  ...['--pn', '1_2_3_4_5_6_8', '--V', '512', '--Cvae', '16'],
  ...['--bs', '4', '--ep', '60', '--tblr', '0.0704', '--twd', '0', '--wp', '1', '--vq_weight', '0.25', '--phi_identity', '1'],
  ...['--hflip', '1', '--winograd', '4', '--val_ep', '5'],
];
const VAR = [
  ...['--depth', '8', '--width', '192', '--heads', '3', '--saln', '1'],
  ...['--bs', '10', '--ep', '80', '--tblr', '0.032', '--wp', '1', '--val_ep', '5'],
];
const CROPS = 4;
/** Of the demo. */
const PICTURES = ['generated', 'scales', 'reconstructed'];
/** Sides of the small photos that the VQVAE is compared with: as many pixels as its largest map has tokens, and four times as many. */
const SMALL = [8, 16];

const { values: options } = parseArgs({
  options: {
    data: { type: 'string', default: process.env.NEXTSCALE_CLOTHING ?? '' },
    runs: { type: 'string', default: 'runs/clothing64' },
    out: { type: 'string', default: 'models/clothing64' },
    report: { type: 'boolean', default: false },
    // checkpoints in the place of the final weights, and caches that lie elsewhere
    vae: { type: 'string' },
    var: { type: 'string' },
    tokens_train: { type: 'string' },
    tokens_val: { type: 'string' },
    // of the code that trained, where the runs were not made by this script
    commit: { type: 'string' },
  },
});
const { data, runs, out } = options;
if (data === '') throw new Error('--data (or NEXTSCALE_CLOTHING) is needed: a folder with train/<class>/* and val/<class>/*');

const run = (name: string): string => join(runs, name);
const vae = options.vae ?? join(run('vae'), 'vae.safetensors');
const transformer = options.var ?? join(run('var'), 'var.safetensors');
const tokenFolder = { train: options.tokens_train ?? run('tokens-train'), val: options.tokens_val ?? run('tokens-val') };
const tokens = (split: 'train' | 'val', folder: string, seed: number, views: readonly string[]): string[] => [
  ...['data', 'tokens', data, '--vae', vae, '--split', split, '--seed', String(seed), ...views, '--out', folder],
];
const COMMANDS = [
  ['train', 'vqvae', '--data', data, '--out', run('vae'), ...VQVAE, '--seed', String(SEED)],
  tokens('train', tokenFolder.train, SEED, ['--crops', String(CROPS), '--flips']),
  tokens('val', tokenFolder.val, SEED, []),
  [
    ...['train', 'var', '--vae', vae, '--tokens', tokenFolder.train, '--tokens_val', tokenFolder.val],
    ...['--out', run('var'), ...VAR, '--seed', String(SEED)],
  ],
];

function nextscale(args: readonly string[], env: NodeJS.ProcessEnv = {}): number {
  process.stdout.write(`\nnextscale ${args.join(' ')}\n`);
  const since = performance.now();
  const options = { stdio: 'inherit', env: { ...process.env, ...env } } as const;
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', 'ts/cli/main.ts', ...args], options);
  if (status !== 0) throw new Error(`nextscale ${args.join(' ')} ended with ${status}`);
  return (performance.now() - since) / 1000;
}

const head = (): string => execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();

interface Made {
  readonly steps: readonly Step[];
  readonly commit: string;
}

/** What was run and how long it took is kept beside the runs, for later reports. */
function trainAll(): void {
  mkdirSync(runs, { recursive: true });
  const commit = head();
  const steps = COMMANDS.map((args) => ({ command: args.join(' '), seconds: nextscale(args) }));
  writeFileSync(run('steps.json'), `${JSON.stringify({ steps, commit } satisfies Made, null, 2)}\n`);
}

/** Seconds from the making of a folder to the last change of a file in it. */
function lasted(folder: string, file: string): number | undefined {
  const seconds = (statSync(join(folder, file)).mtimeMs - statSync(folder).birthtimeMs) / 1000;
  return seconds > 0 ? seconds : undefined;
}

/** The commands as the runs tell them, where this script did not run them. */
function made(): Made {
  if (existsSync(run('steps.json'))) return JSON.parse(readFileSync(run('steps.json'), 'utf8')) as Made;
  const trained = (name: string): Step => {
    const [first = ''] = readFileSync(join(run(name), 'log.txt'), 'utf8').split('\n', 1);
    return { command: (JSON.parse(first) as { cmd: string }).cmd, seconds: lasted(run(name), 'log.jsonl') };
  };
  const cached = (split: 'train' | 'val'): Step => {
    const folder = tokenFolder[split];
    const { crops, flips, seed } = readIndex(folder);
    const views = split === 'train' ? ['--crops', String(crops), ...(flips ? ['--flips'] : [])] : [];
    return { command: tokens(split, folder, seed, views).join(' '), seconds: lasted(folder, 'index.json') };
  };
  return { steps: [trained('vae'), cached('train'), cached('val'), trained('var')], commit: options.commit ?? head() };
}

/** Paths of this machine become those of a checkout. */
function portable(command: string): string {
  const names: Record<string, string> = { [runs]: 'runs/clothing64', [out]: 'models/clothing64', [data]: 'DATA' };
  const paths = Object.entries(names).flatMap(([from, to]) => [from, resolve(from)].map((path) => [path, to] as const));
  const given = command.replace(/(--data(?:_path)? |data tokens )\S+/, '$1DATA');
  return paths.sort((a, b) => b[0].length - a[0].length).reduce((text, [from, to]) => text.replaceAll(from, to), given);
}

async function store(): Promise<string[]> {
  mkdirSync(out, { recursive: true });
  const commands: string[] = [];
  for (const [family, from] of [
    ['vqvae', vae],
    ['var', transformer],
  ] as const) {
    const name = family === 'vqvae' ? 'vae.safetensors' : 'var.safetensors';
    const exported = from.endsWith('.safetensors') ? from : await exportCheckpoint(from, family, join(runs, name));
    const args = ['convert', exported, join(out, name), '--dtype', 'f16'];
    nextscale(args);
    commands.push(args.join(' '));
  }
  return commands;
}

/** What the demo makes of the model, as pictures for the text beside it. */
async function showcase(): Promise<void> {
  nextscale(['demo', '--steps', '0', '--out', run('demo')], { NEXTSCALE_DEMO_MODEL: out });
  for (const name of PICTURES)
    await sharp(join(run('demo'), `${name}.png`))
      .jpeg({ quality: 85, mozjpeg: true })
      .toFile(join(out, `${name}.jpg`));
}

/** Options of a command without those that are paths. */
function optionsOf(command: string): string {
  const words = command.split(' ').filter((word) => !/[/\\]|^DATA$/.test(word));
  const flags = words.join(' ').split(/ (?=--)/);
  return flags.sort().join(' ');
}

/** Runs made by hand should be what this script would do. */
function compare(done: readonly Step[]): void {
  for (const [i, { command }] of done.entries()) {
    const [was, would] = [optionsOf(portable(command)), optionsOf(portable(COMMANDS[i]!.join(' ')))];
    if (was !== would) process.stdout.write(`\nthis run has other options than the script:\n  ${was}\n  ${would}\n`);
  }
}

if (!options.report) trainAll();
const converted = await store();
const { steps, commit } = made();
compare(steps);
const logs = { vqvae: readRunLog(run('vae')), var: readRunLog(run('var')) };
const midReso = Number((JSON.parse(readFileSync(join(run('vae'), 'config.json'), 'utf8')) as { mid_reso: number }).mid_reso);
const bicubic: { side: number; psnr: number }[] = [];
for (const side of SMALL) bicubic.push({ side, psnr: await bicubicPsnr(data, RESO, side, midReso) });
const baselines = {
  bicubic,
  frequencies: await tokenFrequencies(tokenFolder.train, tokenFolder.val),
};
const facts: Facts = {
  steps: [...steps, ...converted.map((command) => ({ command }))].map((step) => ({ ...step, command: portable(step.command) })),
  commit,
  machine: `${cpus()[0]?.model ?? process.arch}, ${cpus().length} threads`,
  weights: [vae, transformer].map((path) => portable(path)),
  ...{ tokenFolder, out, logs, baselines },
};
writeFileSync(join(out, 'README.md'), readme(facts));
await showcase();
await writeCurves(join(out, 'curves.png'), logs.vqvae, logs.var, baselines);
process.stdout.write(`\n${join(out, 'README.md')} is written, curves and pictures with it\n`);
