// The text beside the bundled model; every number comes from logs, files and measurements.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Frequencies } from './baselines.js';
import type { Baselines } from './curves.js';
import type { RunLog } from './run-log.js';

export interface Step {
  readonly command: string;
  /** Of the whole command, where it was measured. */
  readonly seconds?: number;
}

export interface Facts {
  readonly steps: readonly Step[];
  readonly commit: string;
  readonly machine: string;
  /** What was converted: final weights, or a checkpoint. */
  readonly weights: readonly string[];
  readonly tokenFolder: { readonly train: string; readonly val: string };
  readonly out: string;
  readonly logs: { readonly vqvae: RunLog; readonly var: RunLog };
  readonly baselines: Baselines & { readonly frequencies: Frequencies };
}

type Metrics = Readonly<Record<string, number>>;

const minutes = (m: number): string => `${m.toFixed(1)} min`;
const row = (...cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const fixed = (value: number | undefined, digits: number): string => (value === undefined ? '-' : value.toFixed(digits));

/** Breaks a command after 120 columns. */
function wrapped(command: string): string {
  const lines = [''];
  for (const word of `npx nextscale ${command}`.split(' ')) {
    if (lines.at(-1)!.length + word.length > 116) lines.push('  ');
    lines[lines.length - 1] += `${lines.at(-1)!.trim() === '' ? '' : ' '}${word}`;
  }
  return lines.join(' \\\n');
}

function bestOf(log: RunLog, name: string, pick: (...values: number[]) => number): number {
  return pick(...log.evals.map(({ metrics }) => metrics[name]!));
}

function perScale(metrics: Metrics): string[] {
  const scales = Object.keys(metrics).flatMap((name) => /^VAE_ep\/usage_(\d+)$/.exec(name)?.[1] ?? []);
  const line = (title: string, suffix: string): string =>
    row(
      title,
      fixed(metrics[`VAE_ep/usage${suffix}`], 1),
      fixed(metrics[`VAE_ep/perplexity${suffix}`], 1),
      fixed(metrics[`VAE_ep/dead${suffix}`], 0),
    );
  return [
    row('tokens', 'usage, %', 'perplexity', 'codes without a hit'),
    row('---', '---:', '---:', '---:'),
    ...scales.map((pn) => line(`${pn} x ${pn}`, `_${pn}`)),
    line('all', ''),
  ];
}

/** Of the step events alone; evaluations and checkpoints come on top. */
function timeTable({ steps, logs }: Facts): string[] {
  const training = (command: string): string => {
    if (command.startsWith('train vqvae')) return minutes(logs.vqvae.minutes);
    return command.startsWith('train var') ? minutes(logs.var.minutes) : '-';
  };
  const named = steps.map(({ command, seconds }) => ({ command, name: command.split(' ').slice(0, 2).join(' '), seconds }));
  return [
    row('step', 'training iterations', 'whole command'),
    row('---', '---:', '---:'),
    ...named
      .filter(({ name }) => !name.startsWith('convert'))
      .map(({ command, name, seconds }) =>
        row(
          `\`${name}${/--split (\w+)/.test(command) ? ` --split ${/--split (\w+)/.exec(command)![1]}` : ''}\``,
          training(command),
          seconds === undefined ? '-' : minutes(seconds / 60),
        ),
      ),
  ];
}

function vqvaeTable({ logs, baselines }: Facts): string[] {
  const last = logs.vqvae.evals.at(-1)!.metrics;
  const enlarged = baselines.bicubic.map(({ side, psnr }) =>
    row(`PSNR of the photos reduced to ${side}x${side} and enlarged, bicubic (baseline)`, `${fixed(psnr, 2)} dB`),
  );
  return [
    row('on the validation photos', 'value'),
    row('---', '---:'),
    row('PSNR', `${fixed(last.psnr, 2)} dB`),
    ...enlarged,
    row('rec', fixed(last.rec, 5)),
    row('usage', `${fixed(last.usage, 1)} % of the codes`),
    row('perplexity', fixed(last.perplexity, 1)),
  ];
}

function varTable({ logs, baselines }: Facts): string[] {
  const { var: log } = logs;
  const last = log.evals.at(-1)!.metrics;
  const { pooled, perScale: each, uniform } = baselines.frequencies;
  return [
    row('on the validation tokens', 'last', 'best'),
    row('---', '---:', '---:'),
    row('vL_mean, nats per token', fixed(last.vL_mean, 4), fixed(bestOf(log, 'vL_mean', Math.min), 4)),
    row('vL_tail, of the last scale', fixed(last.vL_tail, 4), fixed(bestOf(log, 'vL_tail', Math.min), 4)),
    row('vacc_mean, %', fixed(last.vacc_mean, 2), fixed(bestOf(log, 'vacc_mean', Math.max), 2)),
    row('vacc_tail, %', fixed(last.vacc_tail, 2), fixed(bestOf(log, 'vacc_tail', Math.max), 2)),
    row('frequencies of the training tokens (baseline), nats', fixed(pooled, 4), ''),
    row('the same, of every scale by itself, nats', fixed(each, 4), ''),
    row('guessing, nats', fixed(uniform, 4), ''),
  ];
}

interface TokenIndex {
  readonly classes: readonly string[];
  readonly dataset: { readonly images: number };
  readonly crops: number;
  readonly flips: boolean;
  readonly seed: number;
}

export function readIndex(folder: string): TokenIndex {
  return JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8')) as TokenIndex;
}

const size = (path: string): string => `${(statSync(path).size / 2 ** 20).toFixed(2)} MiB`;

function intro({ out, tokenFolder }: Facts): string[] {
  const { classes, dataset } = readIndex(tokenFolder.train);
  const val = readIndex(tokenFolder.val).dataset.images;
  const stored = readdirSync(out).filter((name) => name.endsWith('.safetensors'));
  return [
    '# clothing64',
    '',
    `The model that \`npm run demo\` shows: a multi-scale VQVAE and a class-conditional VAR for 64x64 pixels, trained from nothing by the commands below on`,
    `${dataset.images} photos of ${classes.length} classes (${classes.join(', ')}); ${val} further photos are the validation part. The photos are`,
    '[clothing-dataset-small](https://github.com/alexeygrigorev/clothing-dataset-small) (Alexey Grigorev and contributors, CC0 1.0); some of the',
    'validation photos lie in `photos/`. It is small, learnt from few photos, and made to be looked at in a demo.',
    '',
    'This file and `curves.png` are written by `bench/train/clothing.ts` from the logs of the runs.',
    '',
    row('file', 'size'),
    row('---', '---:'),
    ...stored.sort().map((name) => row(`\`${name}\` (f16)`, size(join(out, name)))),
  ];
}

function commands({ steps, commit, machine, weights }: Facts): string[] {
  const seed = /--seed (\d+)/.exec(steps[0]!.command)?.[1] ?? '0';
  return [
    '`DATA` is the folder of the photos.',
    '',
    '```sh',
    ...steps.map(({ command }) => wrapped(command)),
    '```',
    '',
    row('', ''),
    row('---', '---'),
    row('Seed', seed),
    row('Machine', machine),
    row('Commit', commit),
    row('Weights', weights.map((path) => `\`${path}\``).join(', ')),
  ];
}

const PICTURES = [
  'Generated, with the settings and the seed of the demo; one column per class:',
  '',
  '![Generated images of every class](generated.jpg)',
  '',
  'Some of them after every scale:',
  '',
  '![Generated images after every scale](scales.jpg)',
  '',
  'Validation photos, and what is decoded after every scale:',
  '',
  '![Reconstructed photos](reconstructed.jpg)',
];

export function readme(facts: Facts): string {
  const codebook = ['Codebook over the last epoch of training:', '', ...perScale(facts.logs.vqvae.epochs.at(-1)!.metrics)];
  const sections: readonly (readonly [title: string, lines: readonly string[]])[] = [
    ['Commands', commands(facts)],
    ['Wall time', timeTable(facts)],
    ['VQVAE', [...vqvaeTable(facts), '', ...codebook]],
    ['VAR', [...varTable(facts), '', '![Curves of both runs](curves.png)']],
    ['Pictures', PICTURES],
  ];
  const body = sections.flatMap(([title, lines]) => ['', `## ${title}`, '', ...lines]);
  return [...intro(facts), ...body, ''].join('\n');
}
