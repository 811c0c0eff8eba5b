// The convolutional halves of the VQVAE and the block stacks of VAR against onnxruntime-node: same weights, same inputs, same run, in turn.
// Setting up: bench/peers/export_onnx.py writes the models to FOLDER; `npm install onnxruntime-node` in a folder of its own, PACKAGES.
// node --import tsx bench/peers/onnx.ts --vae FILE.pth --var FILE.pth --models FOLDER --packages PACKAGES
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Philox } from '../../ts/core/philox.js';
import { createEngine, type Tensor, VAR, VQVAE } from '../../ts/index.js';
import { clock, Peer, record } from './peer.js';

const { values: options } = parseArgs({
  options: {
    vae: { type: 'string' },
    var: { type: 'string' },
    models: { type: 'string' },
    packages: { type: 'string' },
    jobs: { type: 'string', default: 'decoder,encoder,blocks' },
    threads: { type: 'string', default: '2' },
    runs: { type: 'string', default: '5' },
    dtype: { type: 'string', default: 'f32' },
    out: { type: 'string', default: 'bench/results/peers.jsonl' },
  },
});
const { vae, var: varFile, models, packages } = options;
if (!vae || !varFile || !models || !packages) throw new Error('--vae, --var, --models and --packages are needed');
const runs = Number(options.runs);
const jobs = new Set(options.jobs.split(','));
const folder = mkdtempSync(join(tmpdir(), 'nextscale-onnx-'));

const { peer, torch: runtime } = await Peer.start(process.execPath, 'onnx_reference.mjs', [packages, models, options.threads]);
const engine = await createEngine({ threads: Number(options.threads), maxCachedBytes: 2 ** 31 });
const vqvae = await VQVAE.load(engine, vae);
const extra = { threads: Number(options.threads), dtype: options.dtype, peer: runtime };

const file = (name: string): string => join(folder, name);
const save = (name: string, data: Float32Array): string => {
  writeFileSync(file(name), Buffer.from(data.buffer, data.byteOffset, data.byteLength));
  return file(name);
};
const load = (name: string): Float32Array => {
  const bytes = readFileSync(file(name));
  return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
};

/** Uniform numbers with the variance of a normal one. */
function noise(n: number, seed: number): Float32Array {
  const philox = new Philox(seed);
  return Float32Array.from({ length: n }, () => (philox.uniform() * 2 - 1) * Math.sqrt(3));
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`${a.length} values against ${b.length}`);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

/** NHWC to NCHW for one image. */
function planes(data: Float32Array, side: number, channels: number): Float32Array {
  const out = new Float32Array(data.length);
  const area = side * side;
  for (let p = 0; p < area; p++) for (let c = 0; c < channels; c++) out[c * area + p] = data[p * channels + c]!;
  return out;
}

interface Half {
  readonly job: string;
  readonly model: 'decoder' | 'encoder';
  readonly side: number;
  readonly channels: number;
  readonly outSide: number;
  readonly outChannels: number;
  readonly names: { readonly input: string; readonly output: string };
  /** Scales the difference: pixels are told of 255. */
  readonly unit: number;
  work(x: Tensor): Promise<Tensor>;
}

const HALVES: readonly Half[] = [
  {
    job: 'decoder 256x256 against onnxruntime',
    model: 'decoder',
    side: 16,
    channels: 32,
    outSide: 256,
    outChannels: 3,
    names: { input: 'f_hat', output: 'image' },
    unit: 127.5,
    work: async (x) => vqvae.fHatToImg(x),
  },
  {
    job: 'encoder 256x256 against onnxruntime',
    model: 'encoder',
    side: 256,
    channels: 3,
    outSide: 16,
    outChannels: 32,
    names: { input: 'image', output: 'f' },
    unit: 1,
    work: async (x) => vqvae.encode(x),
  },
];

async function half(part: Half): Promise<void> {
  const nhwc = noise(part.side * part.side * part.channels, 7);
  const source = save('in', planes(nhwc, part.side, part.channels));
  const request = { ...part.names, model: part.model, shape: [1, part.channels, part.side, part.side], file: source };
  await peer.ask({ ...request, into: file('out') });
  const x = engine.tensor(nhwc, [1, part.side, part.side, part.channels]);
  const run = async (): Promise<Float32Array> => {
    const y = await part.work(x);
    const data = (await y.read()) as Float32Array;
    y.dispose();
    return data;
  };
  const ours = planes(await run(), part.outSide, part.outChannels);
  const difference = largestDifference(ours, load('out')) * part.unit;
  const times: [number[], number[]] = [[], []];
  for (let i = 0; i < runs; i++) {
    times[0].push((await clock(run))[0]);
    times[1].push((await peer.ask(request)).seconds);
  }
  x.dispose();
  record(options.out, part.job, times[0], times[1], { ...extra, ...(part.unit > 1 ? { maxPixelDifference: difference } : { difference }) });
}

async function blocks(): Promise<void> {
  const model = await VAR.load(engine, varFile as string, { vqvae, dtype: options.dtype as 'f32' });
  const { depth, embedDim: width, numHeads: heads, patchNums, numClasses } = model.config;
  const sides = patchNums.map(Number);
  const scope = engine.openScope();
  const cond = scope.run(() => model.model.condition(engine, new Int32Array([207, numClasses])));
  const inputs = sides.map((side, si) => noise(2 * side * side * width, 100 + si));
  const xs = scope.run(() => inputs.map((x, si) => engine.tensor(x, [2, sides[si]! ** 2, width])));
  const request = {
    cmd: 'blocks',
    sides,
    depth,
    rows: 2,
    width,
    heads,
    cond: save('cond', (await cond.sos.read()) as Float32Array),
    files: inputs.map((x, si) => save(`x${si}`, x)),
  };
  await peer.ask({ ...request, into: sides.map((_, si) => file(`y${si}`)) });
  const run = async (differences?: number[]): Promise<void> => {
    const caches = engine.scope(() => model.model.caches(engine, 2));
    for (let si = 0; si < sides.length; si++) {
      const y = engine.scope(() => {
        let h = xs[si]!;
        for (let i = 0; i < depth; i++) h = model.model.step(engine, i, h, cond, caches[i], si);
        return h;
      });
      await engine.flush();
      // Fresh weights change x little: the difference counts relative to that change.
      const want = differences && load(`y${si}`);
      if (want) differences.push(largestDifference((await y.read()) as Float32Array, want) / largestDifference(want, inputs[si]!));
      y.dispose();
    }
    for (const { k, v } of caches) {
      k.dispose();
      v.dispose();
    }
  };
  const differences: number[] = [];
  await run(differences);
  const times: [number[], number[]] = [[], []];
  for (let i = 0; i < runs; i++) {
    times[0].push((await clock(() => run()))[0]);
    times[1].push((await peer.ask(request)).seconds);
  }
  record(options.out, 'block stacks of ten scales, d16, against onnxruntime', times[0], times[1], {
    ...extra,
    relativeDifference: Math.max(...differences),
  });
  scope.close();
  model.dispose();
}

try {
  for (const part of HALVES) if (jobs.has(part.model)) await half(part);
  if (jobs.has('blocks')) await blocks();
} finally {
  peer.stop();
  rmSync(folder, { recursive: true });
}
vqvae.dispose();
await engine.close();
