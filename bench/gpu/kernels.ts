// Each kernel of VAR against its floor, on a GPU: bytes over the copy bandwidth, operations over the rate of matrix products, both measured in
// the same run. With --peer PYTHON the same shapes in PyTorch, in turn.
//   node --import tsx bench/gpu/kernels.ts [--out FILE] [--only linear,attention] [--peer python3] [--own] [--smoke]
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createEngine, type Engine } from '../../ts/engine/index.js';
import { deviceSource } from './calls.js';
import { checkSpec } from './check.js';
import { Peer } from './peer.js';
import { machineOf, Results } from './results.js';
import { fullSpecs, limited, nameOf, type Spec, workOf } from './specs.js';
import { FULL, instancesOf, median, SMOKE, spread, Timed, timeOf } from './timing.js';

const { values: options } = parseArgs({
  options: {
    out: { type: 'string' },
    only: { type: 'string' },
    peer: { type: 'string' },
    scripts: { type: 'string', default: dirname(fileURLToPath(import.meta.url)) },
    // Products by the own kernels alone: no cuBLASLt.
    own: { type: 'boolean', default: false },
    // Every line once, at sizes of no meaning, on the emulation or the CPU; nothing is written.
    smoke: { type: 'boolean', default: false },
  },
});
const effort = options.smoke ? SMOKE : FULL;
const size = (s: Spec): Spec => (options.smoke ? limited(s, 'smoke') : s);

interface Floors {
  /** Bytes per second of a copy of 1 GiB, read and written. */
  readonly copy: number;
  /** FLOPs per second of a product of 8192 x 8192 x 8192 by dtype; of f32 without tf32. */
  readonly matmul: Readonly<Record<string, number>>;
}

async function measureFloors(engine: Engine): Promise<Floors> {
  const rate = async (s: Spec, of: 'bytes' | 'flops'): Promise<number> =>
    workOf(size(s))[of] / median(await timeOf(engine, deviceSource(engine), size(s), effort));
  const product = (dtype: 'bf16' | 'f16' | 'f32', n: number): Spec => ({ op: 'linear', dtype, M: n, N: n, K: n });
  return {
    copy: await rate({ op: 'copy', dtype: 'f32', n: 2 ** 28 }, 'bytes'),
    matmul: {
      bf16: await rate(product('bf16', 8192), 'flops'),
      f16: await rate(product('f16', 8192), 'flops'),
      f32: await rate(product('f32', 4096), 'flops'),
    },
  };
}

/** Rounds of ours and of the peer in turn. */
async function timesOf(engine: Engine, peer: Peer | undefined, s: Spec): Promise<{ ours: number[]; theirs: number[]; missing?: string }> {
  const timed = await Timed.open(engine, deviceSource(engine), s, effort);
  const answer = peer && (await peer.ask({ cmd: 'open', spec: s, instances: instancesOf(s, effort), replayS: effort.replayS }));
  const [ours, theirs]: [number[], number[]] = [[], []];
  for (let i = 0; i < effort.rounds; i++) {
    ours.push(await timed.round());
    if (peer && !answer?.missing) theirs.push((await peer.ask({ cmd: 'round' })).seconds);
  }
  if (peer) await peer.ask({ cmd: 'close' });
  await timed.close();
  return { ours, theirs, missing: answer?.missing };
}

const us = (seconds: number): string => `${(seconds * 1e6).toFixed(1)} us`;

const engine = await createEngine({
  device: options.smoke && !process.env.NEXTSCALE_DEVICE ? 'cpu' : 'cuda',
  maxCachedBytes: 2 ** 30,
  ...(options.own ? { fault: { ownKernels: 1 } } : {}),
});
const cpu = await createEngine({ device: 'cpu' });
const results = new Results(options.smoke ? undefined : options.out, machineOf(engine));
const peer = options.peer ? await Peer.start(options.peer, options.scripts, 'torch_kernels.py', options.smoke) : undefined;
const by = {
  products: options.own ? 'own kernels' : 'cuBLASLt where it is installed',
  torch: peer?.version,
  // Attention by the kernel for sm_90a, where the device runs it.
  ...(process.env.NEXTSCALE_CUDA_HOPPER === '1' ? { hopper: true } : {}),
};
let failed = 0;

if (options.smoke) process.stdout.write('smoke: sizes and times without a meaning\n');
const floors = await measureFloors(engine);
results.add(
  { kind: 'floors', ...floors, ...by },
  `copy ${(floors.copy / 1e9).toFixed(1)} GB/s, products bf16 ${(floors.matmul.bf16! / 1e12).toFixed(2)}, f16 ${(floors.matmul.f16! / 1e12).toFixed(2)}, f32 ${(floors.matmul.f32! / 1e12).toFixed(2)} TFLOP/s (${by.products})`,
);

async function measure(full: Spec): Promise<void> {
  const error = await checkSpec(engine, cpu, limited(full, options.smoke ? 'smoke' : 'check'));
  const s = size(full);
  const { bytes, flops } = workOf(s);
  const floor = Math.max(bytes / floors.copy, flops / floors.matmul[s.dtype]!);
  const { ours, theirs, missing } = await timesOf(engine, peer, s);
  const ofFloor = floor / median(ours);
  const against = theirs.length > 0 ? { peer: spread(theirs), ratio: median(theirs) / median(ours) } : { peerMissing: missing };
  const shown = against.ratio
    ? `, torch ${us(median(theirs))}, ${against.ratio.toFixed(2)} times as fast`
    : missing
      ? `, torch: ${missing}`
      : '';
  results.add(
    { kind: 'kernel', name: nameOf(s), spec: s, ...spread(ours), floor, ofFloor, bytes, flops, error, ...against, ...by },
    `${nameOf(s)}: ${us(median(ours))}, floor ${us(floor)}, ${(100 * ofFloor).toFixed(1)} %${shown}`,
  );
}

const only = options.only?.split(',');
const specs = new Map(fullSpecs().map((s) => [nameOf(size(s)), s]));
for (const spec of [...specs.values()].filter((s) => !only || only.includes(s.op))) {
  try {
    await measure(spec);
  } catch (e) {
    failed++;
    results.add({ kind: 'failure', name: nameOf(spec), error: (e as Error).message }, `${nameOf(spec)}: FAIL ${(e as Error).message}`);
  }
}
peer?.stop();
await engine.close();
await cpu.close();
process.exitCode = failed > 0 ? 1 : 0;
