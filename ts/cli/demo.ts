// nextscale demo: the bundled model generates, reconstructs photos, and is trained on for a few steps.
import { basename, join, resolve } from 'node:path';
import { Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { RawImage } from '../data/index.js';
import type { Engine } from '../engine/index.js';
import { type CommonOptions, Context, common, duration } from './context.js';
import { BUNDLED, bundledPhotos, DEMO_MODEL, type DemoModel, loadDemoModel, type Photo } from './demo-model.js';
import { type Continued, continueTraining } from './demo-train.js';
import { type DeviceOptions, deviceOptions, openDevice, type PrecisionOptions, precisionOption, where } from './device.js';
import { grid, psnr } from './grid.js';
import { ensureFolder, imageFiles, loadPicture, writePng } from './images.js';
import { integer } from './options.js';

interface DemoOptions extends CommonOptions, DeviceOptions, PrecisionOptions {
  images?: string[];
  out: string;
  perClass: number;
  steps: number;
  seed: number;
}

interface Part {
  name: string;
  seconds: number;
}

interface Picture {
  readonly name: string;
  readonly image: RawImage;
}

const MAX_PICTURES = 16;
/** Bundled photos that are reconstructed. */
const SHOWN_PHOTOS = 10;
/** Classes whose image is shown after every scale. */
const SHOWN_SCALES = 5;
const SAMPLING = { cfg: 3, topK: 200, topP: 0.95 };
/** Pixels of the model are shown as squares of so many. */
const ENLARGED = 2;

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

function enlarge({ data, width, height }: RawImage): RawImage {
  const [w, h] = [width * ENLARGED, height * ENLARGED];
  const out = new Uint8Array(w * h * 3);
  for (let y = 0; y < h; y++)
    for (let x = 0; x < w; x++) {
      const from = 3 * (Math.floor(y / ENLARGED) * width + Math.floor(x / ENLARGED));
      out.set(data.subarray(from, from + 3), 3 * (y * w + x));
    }
  return { width: w, height: h, data: out };
}

async function write(ctx: Context, options: DemoOptions, name: string, cells: readonly Picture[], columns: number, title: string) {
  const captions = cells.map((cell) => cell.name);
  const picture = grid(
    cells.map((cell) => enlarge(cell.image)),
    { columns, captions, title },
  );
  return await writePng(join(options.out, name), picture, ctx.signal);
}

/** Images of every class: one row per sample, one column per class. */
async function generateClasses(ctx: Context, { transformer, classes }: DemoModel, options: DemoOptions): Promise<Picture[]> {
  const labels = Array.from({ length: options.perClass * classes.length }, (_, i) => i % classes.length);
  using progress = ctx.progress('generate', transformer.model.config.patchNums.length);
  const { images } = await transformer.generate({
    ...{ ...SAMPLING, labels, seed: options.seed, signal: ctx.signal },
    onScale: ({ patchNum }) => progress.step(`${patchNum} x ${patchNum}`),
  });
  return images.map((image, i) => ({ name: classes[labels[i]!]!, image }));
}

/** The first images of that grid again, after every scale: one row per class. */
async function generateScales(ctx: Context, { transformer, classes }: DemoModel, seed: number): Promise<Picture[]> {
  const labels = classes.slice(0, SHOWN_SCALES).map((_, label) => label);
  const rows: Picture[][] = labels.map(() => []);
  const onScale = ({ patchNum, images }: { patchNum: number; images: readonly RawImage[] }) => {
    for (const [i, image] of images.entries()) {
      const scale = `${patchNum} x ${patchNum}`;
      rows[i]!.push({ name: rows[i]!.length === 0 ? `${classes[labels[i]!]}, ${scale}` : scale, image });
    }
  };
  await transformer.generate({ ...SAMPLING, labels, seed, signal: ctx.signal, scalePreviews: true, onScale });
  return rows.flat();
}

async function ownPictures(engine: Engine, files: readonly string[], side: number): Promise<Picture[]> {
  const paths = await imageFiles(files);
  if (paths.length > MAX_PICTURES) throw new ArgumentError(`--images: got ${paths.length} images, accepted: 1 to ${MAX_PICTURES}`);
  return await Promise.all(paths.map(async (path) => ({ name: basename(path), image: await loadPicture(engine, path, side) })));
}

interface Reconstructed {
  /** tokens per photo over all scales */
  readonly tokens: number;
  /** PSNR after every scale, dB, mean over the photos */
  readonly scales: readonly { patchNum: number; psnr: number }[];
  readonly cells: readonly Picture[];
}

async function reconstruct(ctx: Context, { vqvae }: DemoModel, pictures: readonly Picture[]): Promise<Reconstructed> {
  const images = pictures.map((picture) => picture.image);
  const { scales, tokens } = await vqvae.reconstruct(images, { everyScale: true, signal: ctx.signal });
  const { patchNums } = vqvae.config;
  const errors = scales.map((scale) => scale.map((image, i) => psnr(images[i]!.data, image.data)));
  const after = (i: number, si: number): Picture => ({
    name: `${patchNums[si]} x ${patchNums[si]}, ${errors[si]![i]!.toFixed(1)} dB`,
    image: scales[si]![i]!,
  });
  return {
    tokens: tokens.reduce((sum, map) => sum + map.length, 0) / images.length,
    scales: patchNums.map((patchNum, si) => ({ patchNum, psnr: errors[si]!.reduce((a, b) => a + b, 0) / images.length })),
    cells: pictures.flatMap((picture, i) => [picture, ...patchNums.map((_, si) => after(i, si))]),
  };
}

async function trainOn(ctx: Context, engine: Engine, model: DemoModel, photos: readonly Photo[], options: DemoOptions): Promise<Continued> {
  const { seed, steps } = options;
  using progress = ctx.progress('train', steps);
  return await continueTraining(engine, model, photos, {
    ...{ steps, seed, signal: ctx.signal },
    onStep: (loss) => progress.step(`loss ${loss.toFixed(3)}`),
  });
}

function opening({ transformer, vqvae, classes }: DemoModel, engine: Engine): string {
  const { depth, embedDim, patchNums, vocabSize } = transformer.model.config;
  const side = vqvae.resolution;
  const origin = DEMO_MODEL === BUNDLED ? "trained by this project's own commands on CC0 photos of clothes, see README.md there" : '';
  return [
    `Model: ${DEMO_MODEL}`,
    ...(origin ? [`  ${origin}`] : []),
    `  ${side} x ${side} pixels, ${classes.length} classes: ${classes.join(', ')}`,
    `  VQVAE of ${vqvae.config.ch} channels and ${vocabSize} codewords, token maps of ${patchNums.join(', ')}; VAR of depth ${depth}, width ${embedDim}; ${where(engine)}`,
    '',
  ].join('\n');
}

function closing(made: Reconstructed, what: string, trained: Continued | undefined): string[] {
  const lines = made.scales.map(({ patchNum, psnr: db }) => `  ${`${patchNum} x ${patchNum}`.padEnd(8)} ${db.toFixed(2).padStart(6)} dB`);
  const head = `Reconstructed ${what}, ${made.tokens} tokens each. PSNR against the picture after every scale, mean:`;
  if (!trained) return [head, ...lines];
  const { before, after, steps, batch } = trained;
  const fit = ({ loss, accuracy }: Continued['before']) => `${loss.toFixed(3)} nats per token, ${accuracy.toFixed(1)} % of tokens right`;
  return [
    head,
    ...lines,
    '',
    `Trained on for ${steps} steps of ${batch} of the ${trained.photos} bundled photos:`,
    `  before  ${fit(before)}`,
    `  after   ${fit(after)}`,
    '  on these very photos. They are too few to make the model better, it begins to learn them by heart: what this shows is that',
    '  training works on this machine. The bundled weights are unchanged.',
  ];
}

async function demo(ctx: Context, options: DemoOptions): Promise<void> {
  await ensureFolder('--out', options.out);
  const watch = new Stopwatch();
  await using engine = await openDevice(options);
  const model = await watch.time('load the model', () => loadDemoModel(engine, options.precision, ctx.signal));
  try {
    ctx.print(opening(model, engine));
    await run(ctx, engine, model, options, watch);
  } finally {
    model.close();
  }
}

async function run(ctx: Context, engine: Engine, model: DemoModel, options: DemoOptions, watch: Stopwatch): Promise<void> {
  const { classes, vqvae } = model;
  const scales = vqvae.config.patchNums.length;
  const images = await watch.time(`generate ${options.perClass * classes.length} images`, () => generateClasses(ctx, model, options));
  const files: Record<string, string> = {};
  files.generated = await write(ctx, options, 'generated.png', images, classes.length, `generated, seed ${options.seed}`);
  const shown = Math.min(SHOWN_SCALES, classes.length);
  const growing = await watch.time(`generate ${shown} images, every scale shown`, () => generateScales(ctx, model, options.seed));
  files.scales = await write(ctx, options, 'scales.png', growing, scales, 'generated images after every scale');
  const photos = await watch.time('read the photos', () => bundledPhotos(engine, classes, vqvae.resolution));
  const own = options.images;
  const pictures = own ? await ownPictures(engine, own, vqvae.resolution) : photos.slice(0, SHOWN_PHOTOS);
  const made = await watch.time(`reconstruct ${pictures.length} pictures`, () => reconstruct(ctx, model, pictures));
  files.reconstructed = await write(ctx, options, 'reconstructed.png', made.cells, scales + 1, 'photo, decoded after every scale');
  const what = `${pictures.length} ${own ? 'pictures' : 'photos that the model was not trained on'}`;
  const { steps } = options;
  const trained = steps > 0 ? await watch.time(`train for ${steps} steps`, () => trainOn(ctx, engine, model, photos, options)) : undefined;
  const seconds = ctx.seconds();
  const parts = [...watch.parts, { name: 'all together', seconds }];
  const text = [
    `Generated ${options.perClass} images of each of ${classes.length} classes (guidance ${SAMPLING.cfg}, top-k ${SAMPLING.topK}, top-p ${SAMPLING.topP}, seed ${options.seed}).`,
    '',
    ...closing(made, what, trained),
    '',
    ...parts.map((part) => `  ${part.name.padEnd(38)} ${duration(part.seconds).padStart(9)}`),
    '',
    `generated      ${resolve(files.generated)}`,
    `scale by scale ${resolve(files.scales)}`,
    `reconstructed  ${resolve(files.reconstructed)}`,
  ];
  const { tokens, scales: psnrs } = made;
  const about = { model: DEMO_MODEL, classes, resolution: vqvae.resolution, seed: options.seed, sampling: SAMPLING };
  ctx.result(
    {
      ...about,
      images: images.length,
      reconstruction: { tokens, scales: psnrs },
      training: trained ?? null,
      parts: watch.parts,
      seconds,
      files,
    },
    text.join('\n'),
  );
}

export function demoCommand(signal: AbortSignal): Command {
  const command = common(new Command('demo'))
    .description('Generate with the bundled model, reconstruct photos, train on for a few steps; prints where the PNGs are.')
    .option('--images <files...>', 'reconstruct your images instead of the bundled photos')
    .option('--out <dir>', 'folder to write to', join('out', 'demo'))
    .option('--per-class <n>', 'generated images of each class', integer('--per-class', 1, 64), 4)
    .option('--steps <n>', 'training steps; 0: none', integer('--steps', 0, 10_000), 20)
    .option('--seed <n>', 'seed of the sampling', integer('--seed', 0), 0);
  return deviceOptions(precisionOption(command))
    .addHelpText('after', '\nExample:\n  nextscale demo --images photos/*.jpg')
    .action(async (options: DemoOptions) => demo(new Context(options, signal), options));
}
