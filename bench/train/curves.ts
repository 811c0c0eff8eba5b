// The curves of a VQVAE run and a VAR run as one sheet of charts.
import sharp from 'sharp';
import { type Chart, drawChart, HEIGHT, WIDTH } from './chart.js';
import type { RunLog } from './run-log.js';

type Points = readonly (readonly [number, number])[];

export interface Baselines {
  readonly bicubic: readonly { readonly side: number; readonly psnr: number }[];
  readonly frequencies: { readonly pooled: number; readonly perScale: number };
}

const X = 'minutes of training';

function points(part: RunLog['epochs'], name: string): Points {
  return part.flatMap(({ minutes, metrics }) => (metrics[name] === undefined ? [] : [[minutes, metrics[name]] as const]));
}

/** Training and validation as two lines, as far as there are any. */
function both(log: RunLog, train: string, val: string): Chart['series'] {
  const series = [
    { name: 'training', points: points(log.epochs, train) },
    { name: 'validation', points: points(log.evals, val) },
  ];
  return series.filter((line) => line.points.length > 0);
}

function vqvaeCharts(log: RunLog, { bicubic }: Baselines): Chart[] {
  const marks = bicubic.map(({ side, psnr }) => ({ name: `bicubic from ${side}x${side}`, y: psnr }));
  const used = { name: 'training, all scales', points: points(log.epochs, 'VAE_ep/usage') };
  const scales = Object.keys(log.epochs.at(-1)!.metrics).flatMap((name) => /^VAE_ep\/usage_(\d+)$/.exec(name)?.[1] ?? []);
  const last = scales.slice(-2).map((pn) => ({ name: `scale ${pn} x ${pn}`, points: points(log.epochs, `VAE_ep/usage_${pn}`) }));
  return [
    { title: 'VQVAE: reconstruction loss', x: X, y: 'rec', series: both(log, 'rec', 'rec') },
    { title: 'VQVAE: PSNR', x: X, y: 'dB', series: both(log, 'psnr', 'psnr'), marks },
    { title: 'VQVAE: codes in use', x: X, y: '% of the codes', series: [used, ...last] },
  ];
}

function varCharts(log: RunLog, { frequencies }: Baselines): Chart[] {
  const marks = [
    { name: 'token frequencies', y: frequencies.pooled },
    { name: 'per scale', y: frequencies.perScale },
  ];
  return [
    { title: 'VAR: loss per token', x: X, y: 'nats', series: both(log, 'Lm', 'vL_mean'), marks },
    { title: 'VAR: loss per token of the last scale', x: X, y: 'nats', series: both(log, 'Lt', 'vL_tail') },
    { title: 'VAR: most likely token right', x: X, y: '%', series: both(log, 'Accm', 'vacc_mean') },
  ];
}

/** Writes a PNG of three rows: VQVAE on the left, VAR on the right. */
export async function writeCurves(path: string, vqvae: RunLog, transformer: RunLog, baselines: Baselines): Promise<void> {
  const columns = [vqvaeCharts(vqvae, baselines), varCharts(transformer, baselines)];
  const tiles = columns.flatMap((charts, column) =>
    charts.map((chart, row) => ({ input: Buffer.from(drawChart(chart)), left: column * WIDTH, top: row * HEIGHT })),
  );
  const rows = Math.max(...columns.map((charts) => charts.length));
  await sharp({ create: { width: columns.length * WIDTH, height: rows * HEIGHT, channels: 3, background: '#fff' } })
    .composite(tiles)
    .png({ palette: true })
    .toFile(path);
}
