// nextscale bench: ops against their floors, call overhead, whole jobs.
import { Argument, Command } from 'commander';
import { ArgumentError } from '../core/errors.js';
import type { Engine, Tensor } from '../engine/index.js';
import { createEngine, measurePeak } from '../engine/index.js';
import { benchCalls } from './bench-calls.js';
import { type OpCase, opCases } from './bench-cases.js';
import { trainingCases } from './bench-cases-train.js';
import { benchJob } from './bench-jobs.js';
import { type BenchOptions, choose } from './bench-shared.js';
import { environment, type TimeOptions, timeRounds } from './bench-time.js';
import { Context, common } from './context.js';
import { modelOptions } from './models.js';
import { integer, number } from './options.js';

const WHAT = ['ops', 'calls', 'generate', 'decode', 'encode'] as const;
const FRAME = 8;

/** Runs a case n times, with a bounded number of results alive, and waits for the last. */
function rounds(engine: Engine, run: (i: number) => Tensor | undefined): (n: number) => Promise<void> {
  let at = 0;
  return async (n) => {
    for (let i = 0; i < n; i++) {
      run(at++)?.dispose();
      if (i % FRAME === FRAME - 1) await engine.throttle();
    }
    await engine.flush();
  };
}

/** Below this share of the peak a measurement says more about the neighbours than about the op. */
const BUSY = 0.85;

/** The best rates seen so far; measured at the start and again before every case. */
class Peak {
  #flops = 0;
  #bytes = 0;
  target = '';

  constructor(readonly threads: number) {
    this.probe(12);
  }

  get gflops(): number {
    return this.#flops / 1e9;
  }

  get gbs(): number {
    return this.#bytes / 1e9;
  }

  /** Measures again; the share of the best arithmetic rate that is free now. */
  probe(rounds = 2): number {
    const { flops, bytesPerSecond, target } = measurePeak({ threads: this.threads, rounds });
    this.#flops = Math.max(this.#flops, flops);
    this.#bytes = Math.max(this.#bytes, bytesPerSecond);
    this.target = target;
    return flops / this.#flops;
  }

  /** ms */
  floor({ flops, bytes }: OpCase): number {
    return 1000 * Math.max(flops / this.#flops, bytes / this.#bytes);
  }
}

async function benchCase(engine: Engine, c: OpCase, time: TimeOptions) {
  using scope = engine.openScope();
  const run = scope.run(() => c.setup(engine));
  return await timeRounds(rounds(engine, run), time);
}

async function benchOps(ctx: Context, options: BenchOptions): Promise<void> {
  const cases = choose(options.filter, [...opCases(), ...trainingCases()]);
  await using engine = await createEngine({ threads: options.threads });
  const peak = new Peak(engine.threads);
  const env = environment(engine.device, engine.threads);
  const { gflops, gbs, target } = peak;
  const line = `peak, ${engine.threads} threads, ${target}: ${gflops.toFixed(0)} GFLOP/s, ${gbs.toFixed(1)} GB/s`;
  ctx.result({ bench: 'peak', ...env, target, gflops, gbs }, line);
  ctx.print(
    `${'op'.padEnd(40)} ${'median ms'.padStart(10)} ${'min'.padStart(9)} ${'max'.padStart(9)} ${'floor ms'.padStart(9)} ${'of floor'.padStart(8)}  rate`,
  );
  for (const c of cases) {
    const free = peak.probe();
    const t = await benchCase(engine, c, { rounds: options.rounds, minMs: options.minMs, signal: ctx.signal });
    const floor = peak.floor(c);
    const ops = c.direct ?? c.flops;
    const rate = ops ? `${(ops / t.median / 1e6).toFixed(1)} GFLOP/s` : `${(c.bytes / t.median / 1e6).toFixed(1)} GB/s`;
    const row = [t.median, t.min, t.max, floor].map((v, i) => v.toFixed(3).padStart(i ? 9 : 10)).join(' ');
    const data = {
      bench: 'op',
      name: c.name,
      unit: 'ms',
      ...t,
      flops: c.flops,
      bytes: c.bytes,
      floor,
      ofFloor: floor / t.median,
      free,
      ...env,
    };
    const busy = free < BUSY ? `  (machine busy: ${(100 * free).toFixed(0)} % of its peak was free)` : '';
    ctx.result(data, `${c.name.padEnd(40)} ${row} ${`${((100 * floor) / t.median).toFixed(0)} %`.padStart(8)}  ${rate}${busy}`);
  }
}

export function benchCommand(signal: AbortSignal): Command {
  const command = common(new Command('bench'))
    .description(
      'Measure ops against the floor of this machine (FMA rate and read bandwidth of the same run), call overhead, or whole jobs.',
    )
    .addArgument(new Argument('[what]', 'what to measure').choices(WHAT).default('ops'))
    .option('--filter <regexp>', 'only cases whose name matches')
    .option('--rounds <n>', 'rounds per case; the median is reported', integer('--rounds', 1, 1000), 5)
    .option('--min-ms <ms>', 'shortest round', number('--min-ms', 0, 60_000), 100)
    .addHelpText('after', '\nExamples:\n  nextscale bench --filter linear --json\n  nextscale bench generate --init d16 --threads 2');
  return modelOptions(command).action(async (what: (typeof WHAT)[number], options: BenchOptions) => {
    const ctx = new Context(options, signal);
    if (options.device !== 'cpu' && (what === 'ops' || what === 'calls'))
      throw new ArgumentError(`--device ${options.device}: cannot be combined with ${what}, whose floors are those of the processor`);
    if (what === 'ops') await benchOps(ctx, options);
    else if (what === 'calls') await benchCalls(ctx, options);
    else await benchJob(ctx, what, options);
  });
}
