// Whole jobs, timed through the public API: generate, decode, encode.
import { basename } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { RawImage } from '../data/index.js';
import type { Tokens } from '../sample/index.js';
import type { BenchOptions } from './bench-shared.js';
import { environment, median } from './bench-time.js';
import type { Context } from './context.js';
import { bytes } from './context.js';
import { loadModels, type Models } from './models.js';

export type Job = 'generate' | 'decode' | 'encode';

function testImage(side: number): RawImage {
  return { width: side, height: side, data: Uint8Array.from({ length: side * side * 3 }, (_, i) => (i * 7 + (i >> 9) * 13) & 255) };
}

function testTokens(models: Models): Tokens {
  const { patchNums, vocabSize } = models.vqvae.config;
  return { count: 1, patchNums, tokens: patchNums.map((pn) => Int32Array.from({ length: pn * pn }, (_, i) => (i * 997) % vocabSize)) };
}

/** One run of a job; returns what else is worth a line. */
async function once(models: Models, job: Job, signal: AbortSignal, seed: number): Promise<Record<string, unknown>> {
  if (job === 'decode') await models.vqvae.decode(testTokens(models), { signal });
  else if (job === 'encode') await models.vqvae.tokenize(testImage(models.vqvae.resolution), { signal });
  else {
    const { vocabSize } = models.var.config;
    const { timings } = await models.var.generate({ labels: [207], seed, cfg: 4, topK: Math.min(900, vocabSize), topP: 0.95, signal });
    return { transformerMs: timings.scales.reduce((a, b) => a + b, 0), decodeMs: timings.decode, scalesMs: timings.scales };
  }
  return {};
}

export async function benchJob(ctx: Context, job: Job, options: BenchOptions): Promise<void> {
  const model = options.init ?? (options.vae ? undefined : 'd16');
  await using models = await loadModels(ctx, { ...options, init: model }, job === 'generate' ? 'both' : 'vae');
  await once(models, job, ctx.signal, 0);
  const seconds: number[] = [];
  let extra: Record<string, unknown> = {};
  using progress = ctx.progress(job, options.rounds);
  const loop = monitorEventLoopDelay({ resolution: 1 });
  loop.enable();
  for (let i = 0; i < options.rounds; i++) {
    const since = performance.now();
    extra = await once(models, job, ctx.signal, i + 1);
    seconds.push((performance.now() - since) / 1000);
    progress.step(`${seconds.at(-1)!.toFixed(2)} s`);
  }
  loop.disable();
  progress.stop();
  const { engine } = models;
  // The histogram holds whole intervals of a 1 ms timer.
  const timerP99Ms = Math.max(0, loop.percentile(99) / 1e6 - 1);
  const data = {
    bench: 'job',
    name: job,
    model: model ?? basename(String(options.var ?? options.vae)),
    precision: options.precision,
    dtype: options.dtype ?? options.precision,
    unit: 's',
    min: Math.min(...seconds),
    median: median(seconds),
    max: Math.max(...seconds),
    rounds: seconds.length,
    ...extra,
    timerP99Ms,
    peakBytes: engine.memory().peakBytes,
    maxRss: process.resourceUsage().maxRSS * 1024,
    ...environment(engine.device, engine.threads),
  };
  const range = `min ${data.min.toFixed(2)}, max ${data.max.toFixed(2)}, ${data.rounds} rounds`;
  const parts = extra.decodeMs
    ? `; last: transformer ${(Number(extra.transformerMs) / 1000).toFixed(2)} s, decoder ${(Number(extra.decodeMs) / 1000).toFixed(2)} s`
    : '';
  ctx.result(
    data,
    `${job} ${data.model}: median ${data.median.toFixed(2)} s (${range})${parts}; peak memory ${bytes(data.maxRss)}; 1 ms timer late by ${timerP99Ms.toFixed(1)} ms (p99)`,
  );
}
