// nextscale demo: pictures to tokens and back, then a labelled grid, with a seeded random model.
import { basename, join, resolve } from 'node:path';
import { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { RawImage } from '../data/index.js';
import { createEngine, type Engine } from '../engine/index.js';
import { VAR, type VQVAE } from '../sample/index.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { DEMO_PICTURES, drawPicture } from './demo-pictures.js';
import { type Converged, converge, seededVqvae } from './demo-reconstruct.js';
import { grid } from './grid.js';
import { ensureFolder, imageFiles, loadPicture, writePng } from './images.js';
import { integer } from './options.js';
import { type ModelSize, modelSize } from './presets.js';

interface DemoOptions extends CommonOptions {
  images?: string[];
  out: string;
  full?: boolean;
  seed: number;
  threads?: number;
}

interface Part {
  name: string;
  seconds: number;
}

/** They are encoded as one batch. */
const MAX_PICTURES = 8;
const LABELS = [207, 22, 388, 985, 974, 437, 1, 555];

/** Times the parts of the demo and keeps the list for the end. */
class Stopwatch {
  readonly parts: Part[] = [];

  async time<T>(name: string, work: () => Promise<T>): Promise<T> {
    const since = performance.now();
    const result = await work();
    this.parts.push({ name, seconds: (performance.now() - since) / 1000 });
    return result;
  }
}

async function takePictures(
  engine: Engine,
  files: readonly string[] | undefined,
  side: number,
): Promise<{ names: string[]; pictures: RawImage[] }> {
  if (!files) {
    const pictures = await Promise.all(DEMO_PICTURES.map((p) => drawPicture(p.draw, side)));
    return { names: DEMO_PICTURES.map((p) => p.name), pictures };
  }
  const paths = await imageFiles(files);
  if (paths.length > MAX_PICTURES) throw new ArgumentError(`--images: got ${paths.length} images, accepted: 1 to ${MAX_PICTURES}`);
  return { names: paths.map((path) => basename(path)), pictures: await Promise.all(paths.map((path) => loadPicture(engine, path, side))) };
}

function convergenceTable({ rows }: Converged): string {
  const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
  const lines = rows.map((r, i) => {
    const bar = '#'.repeat(Math.round(40 * Math.min(1, r.residual)));
    return `  ${String(i + 1).padStart(5)}  ${`${r.patchNum} x ${r.patchNum}`.padEnd(8)} ${r.residual.toFixed(4).padStart(8)}  ${mean(r.psnr).toFixed(2).padStart(9)}  ${bar}`;
  });
  return [`  scale  tokens   |f-fHat|/|f|  PSNR, dB`, ...lines].join('\n');
}

function convergenceGrid(pictures: readonly RawImage[], names: readonly string[], made: Converged): RawImage {
  const cells: RawImage[] = [];
  const captions: string[] = [];
  for (const [i, picture] of pictures.entries()) {
    cells.push(picture, ...made.rows.map((r) => r.pictures[i]!), made.limit[i]!);
    captions.push(names[i]!, ...made.rows.map((r) => `${r.patchNum}x${r.patchNum} ${r.psnr[i]!.toFixed(1)}dB`), 'unquantised');
  }
  const title = 'random untrained VQVAE: picture, decoded after every scale, decoded without quantisation';
  return grid(cells, { columns: made.rows.length + 2, captions, title });
}

async function generateGrid(ctx: Context, vqvae: VQVAE, size: ModelSize, options: DemoOptions, watch: Stopwatch): Promise<RawImage> {
  const { engine } = vqvae;
  const random = await watch.time('make the random VAR', () =>
    VAR.init(engine, { vqvae, config: size.var, seed: options.seed, signal: ctx.signal }),
  );
  using progress = ctx.progress('generate', size.var.patchNums.length);
  const made = await watch.time(`generate ${LABELS.length} images`, async () =>
    random.generate({
      labels: LABELS,
      seed: options.seed,
      signal: ctx.signal,
      onScale: ({ patchNum }) => progress.step(`${patchNum} x ${patchNum}`),
    }),
  );
  return grid(made.images, { captions: made.labels.map((label) => `label ${label}`), title: 'random untrained VAR', columns: 4 });
}

async function demo(ctx: Context, options: DemoOptions): Promise<void> {
  const preset = options.full ? 'd16' : 'small';
  const size = modelSize(preset);
  await ensureFolder('--out', options.out);
  const watch = new Stopwatch();
  await using engine = await createEngine({ threads: options.threads });
  const side = size.vqvae.patchNums.at(-1)! * 16;
  ctx.print(
    `Model: ${preset}, VQVAE of ${size.vqvae.ch} channels, VAR of depth ${size.var.depth}, weights drawn at random from seed ${options.seed}, ${engine.threads} threads.`,
  );
  ctx.print('Nothing is trained: generated pictures are texture, not objects. What the demo shows is the machinery.');
  ctx.print(
    "So that the scales converge, the codebook is drawn with the second moments of these pictures' features, and phi near the identity.\n",
  );
  const { names, pictures } = await watch.time(options.images ? 'read the pictures' : 'draw the pictures', () =>
    takePictures(engine, options.images, side),
  );
  const vqvae = await watch.time('make the random VQVAE', () => seededVqvae(engine, size.vqvae, options.seed, pictures));
  using progress = ctx.progress('reconstruct', size.vqvae.patchNums.length + 1);
  const made = await watch.time('tokenise and decode every scale', () =>
    converge(vqvae, pictures, ctx.signal, (note) => progress.step(note)),
  );
  progress.stop();
  ctx.print(
    `${pictures.length} pictures as ${made.tokens} tokens each. f: features of the encoder, fHat: what the tokens of the scales so far add up to,`,
  );
  ctx.print('PSNR: decode(fHat) against decode(f), mean over the pictures.');
  ctx.print(`${convergenceTable(made)}\n`);
  const files: Record<string, string> = {};
  files.pictures = await writePng(join(options.out, 'pictures.png'), grid(pictures, { captions: names }), ctx.signal);
  files.scales = await writePng(join(options.out, 'scales.png'), convergenceGrid(pictures, names, made), ctx.signal);
  const generated = await generateGrid(ctx, vqvae, size, options, watch);
  files.generated = await writePng(join(options.out, 'generated.png'), generated, ctx.signal);
  const first = made.rows[0]!.residual;
  const last = made.rows.at(-1)!.residual;
  const converged = last < first;
  const rows = made.rows.map(({ patchNum, residual, psnr }) => ({ patchNum, residual, psnr }));
  const text = [
    converged
      ? `The residual fell from ${first.toFixed(3)} to ${last.toFixed(3)} over the scales.`
      : 'The residual did NOT fall over the scales.',
    '',
    ...watch.parts.map((p) => `  ${p.name.padEnd(34)} ${duration(p.seconds).padStart(9)}`),
    `  ${'all together'.padEnd(34)} ${duration(ctx.seconds()).padStart(9)}`,
    '',
    `pictures          ${resolve(files.pictures)}`,
    `after each scale  ${resolve(files.scales)}`,
    `generated         ${resolve(files.generated)}`,
  ];
  ctx.result(
    { preset, seed: options.seed, trained: false, converged, scales: rows, parts: watch.parts, seconds: ctx.seconds(), files },
    text.join('\n'),
  );
}

export function demoCommand(signal: AbortSignal): Command {
  return common(new Command('demo'))
    .description('Tokenise and reconstruct pictures and generate a grid with a seeded random model; prints where the PNGs are.')
    .option('--images <files...>', 'your images instead of drawn ones')
    .option('--out <dir>', 'folder to write to', join('out', 'demo'))
    .option('--full', 'the size of VAR-d16 with the 160-channel VQVAE')
    .option('--seed <n>', 'seed of the weights and of the sampling', integer('--seed', 0), 0)
    .option('--threads <n>', 'threads of the engine (default: all cores)', integer('--threads', 1, 1024))
    .addHelpText('after', '\nExample:\n  nextscale demo --images photos/*.jpg')
    .action(async (options: DemoOptions) => demo(new Context(options, signal), options));
}
