// Whole jobs against the PyTorch reference: same weights, same machine, same run, interleaved A B A B, medians and ratios.
// VAR_REPO=<checkout of FoundationVision/VAR> node --import tsx bench/peers/run.ts --vae FILE.pth --var FILE.pth --image PHOTO [--python python3]
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createEngine, VAR, VQVAE } from '../../ts/index.js';
import { clock, Peer, record } from './peer.js';

const { values: options } = parseArgs({
  options: {
    vae: { type: 'string' },
    var: { type: 'string' },
    image: { type: 'string' },
    depth: { type: 'string', default: '16' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '5' },
    python: { type: 'string', default: 'python3' },
    dtype: { type: 'string', default: 'f32' },
    out: { type: 'string', default: 'bench/results/peers.jsonl' },
  },
});
if (!options.vae || !options.var || !options.image) throw new Error('--vae, --var and --image are needed');
const threads = Number(options.threads);
const runs = Number(options.runs);
const shared = { threads, dtype: options.dtype };

const { peer, torch } = await Peer.start(options.python, 'var_reference.py', [options.vae, options.var, options.depth, options.threads]);
const engine = await createEngine({ threads });
const vqvae = await VQVAE.load(engine, options.vae);
const model = await VAR.load(engine, options.var, { vqvae, dtype: options.dtype as 'f32' });

/** With top_k = 1 both sides choose the same tokens, so the images can be compared. */
async function sameImage(): Promise<{ maxPixelDifference: number; meanPixelDifference: number }> {
  const file = join(tmpdir(), `nextscale-peer-${process.pid}.rgb`);
  await peer.ask({ cmd: 'argmax', labels: [207], seed: 0, cfg: 4, topK: 1, topP: 0, out: file });
  const ours = (await model.generate({ labels: [207], seed: 0, cfg: 4, topK: 1, topP: 0 })).images[0]!.data;
  const theirs = readFileSync(file);
  let max = 0;
  let sum = 0;
  for (let i = 0; i < ours.length; i++) {
    const difference = Math.abs(ours[i]! - theirs[i]!);
    max = Math.max(max, difference);
    sum += difference;
  }
  return { maxPixelDifference: max, meanPixelDifference: sum / ours.length };
}

const parity = await sameImage();
process.stdout.write(
  `same weights, top_k 1: largest pixel difference ${parity.maxPixelDifference} of 255, mean ${parity.meanPixelDifference.toFixed(4)}\n`,
);

const request = { labels: [207], cfg: 4, topK: 900, topP: 0.95 };
const total: [number[], number[]] = [[], []];
const decoder: [number[], number[]] = [[], []];
for (let i = 0; i <= runs; i++) {
  const [seconds, result] = await clock(async () => await model.generate({ ...request, seed: i }));
  const theirs = await peer.ask({ cmd: 'generate', ...request, seed: i });
  if (i === 0) continue; // warm-up
  total[0].push(seconds);
  total[1].push(theirs.seconds);
  decoder[0].push(result.timings.decode / 1000);
  decoder[1].push(theirs.decoder!);
}
record(options.out, 'generate d16 256x256', total[0], total[1], { ...shared, torch, decoderIncluded: true, ...parity });
record(options.out, 'decode 256x256', decoder[0], decoder[1], { ...shared, torch });

const { default: sharp } = await import('sharp');
const pixels = await sharp(options.image).resize(256, 256, { fit: 'cover' }).removeAlpha().raw().toBuffer();
const raw = join(tmpdir(), `nextscale-peer-${process.pid}.image`);
writeFileSync(raw, pixels);
const encode: [number[], number[]] = [[], []];
let differing = 0;
for (let i = 0; i <= runs; i++) {
  const [seconds, tokens] = await clock(() => vqvae.tokenize([{ data: new Uint8Array(pixels), width: 256, height: 256 }]));
  const theirs = await peer.ask({ cmd: 'encode', image: raw });
  differing = theirs.tokens!.flat().filter((t, k) => t !== tokens.tokens.flatMap((s) => [...s])[k]).length;
  if (i === 0) continue;
  encode[0].push(seconds);
  encode[1].push(theirs.seconds);
}
record(options.out, 'encode 256x256', encode[0], encode[1], { ...shared, torch, differingTokens: differing });
peer.stop();
model.dispose();
vqvae.dispose();
await engine.close();
