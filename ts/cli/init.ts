// nextscale init: weights initialised as the reference does it, for training from scratch and for benchmarks.
import { stat } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import { Argument, Command } from 'commander';
import { type ByteSource, writePth, writeSafetensors } from '../checkpoint/index.js';
import { ArgumentError } from '../core/errors.js';
import { createEngine, type Engine } from '../engine/index.js';
import { VarModel } from '../models/var/index.js';
import { VqvaeModel } from '../models/vqvae/index.js';
import { InitSource, type ParamSpec } from '../nn/index.js';
import { bytes, type CommonOptions, Context, common, duration } from './context.js';
import { ensureFolder } from './images.js';
import { integer, oneOf } from './options.js';
import { modelSize, PRESETS } from './presets.js';

type Family = 'var' | 'vqvae';

interface InitOptions extends CommonOptions {
  preset: string;
  seed: number;
  out: string;
  dtype: 'f32' | 'f16' | 'bf16';
}

async function draw(engine: Engine, source: InitSource, spec: ParamSpec, dtype: InitOptions['dtype']): Promise<ArrayBufferView> {
  let tensor = source.load(engine, spec.name);
  if (spec.dtype !== 'i64' && dtype !== 'f32') {
    const narrow = engine.ops.cast(tensor, { dtype });
    tensor.dispose();
    tensor = narrow;
  }
  const data = await tensor.read();
  tensor.dispose();
  return spec.dtype === 'i64' ? BigInt64Array.from(data as Int32Array, (v) => BigInt(v)) : data;
}

async function init(ctx: Context, family: Family, options: InitOptions): Promise<void> {
  const kind = extname(options.out).toLowerCase();
  if (kind !== '.safetensors' && kind !== '.pth')
    throw new ArgumentError(`--out: got '${options.out}', accepted: a name ending in .safetensors or .pth`);
  await ensureFolder('--out', dirname(options.out));
  const size = modelSize(options.preset);
  const model = family === 'var' ? new VarModel(size.var) : new VqvaeModel(size.vqvae);
  const specs = model.parameters();
  const source = new InitSource(specs, options.seed);
  await using engine = await createEngine();
  using progress = ctx.progress('write', specs.length);
  const tensors = new Map<string, ByteSource>();
  for (const spec of specs) {
    const data = (): Promise<ArrayBufferView> => {
      ctx.signal.throwIfAborted();
      progress.step(spec.name);
      return draw(engine, source, spec, options.dtype);
    };
    tensors.set(spec.name, { dtype: spec.dtype === 'i64' ? 'i64' : options.dtype, shape: spec.shape, data });
  }
  if (kind === '.pth') await writePth(options.out, tensors, { signal: ctx.signal });
  else
    await writeSafetensors(
      options.out,
      tensors,
      { format: 'pt', preset: options.preset, seed: String(options.seed) },
      { signal: ctx.signal },
    );
  progress.stop();
  const parameters = specs.reduce((sum, spec) => sum + spec.shape.reduce((a, b) => a * b, 1), 0);
  const written = (await stat(options.out)).size;
  const data = {
    out: options.out,
    family,
    preset: options.preset,
    seed: options.seed,
    dtype: options.dtype,
    tensors: specs.length,
    elements: parameters,
    bytes: written,
  };
  ctx.result(
    data,
    `${options.out}: ${family} ${options.preset}, seed ${options.seed}, ${specs.length} tensors, ${bytes(written)}, ${duration(ctx.seconds())}`,
  );
}

export function initCommand(signal: AbortSignal): Command {
  return common(new Command('init'))
    .description('Write a checkpoint with seeded random weights, initialised as for training from scratch.')
    .addArgument(new Argument('<family>', 'model family').choices(['var', 'vqvae']))
    .requiredOption('--preset <name>', `size: ${PRESETS.join(', ')}`, oneOf('--preset', PRESETS))
    .option('--seed <n>', 'seed of the weights', integer('--seed', 0), 0)
    .option('--dtype <dtype>', 'f32, f16 or bf16', oneOf('--dtype', ['f32', 'f16', 'bf16']), 'f32')
    .requiredOption('--out <file>', 'file to write: .safetensors or .pth')
    .addHelpText('after', '\nExample:\n  nextscale init var --preset d16 --seed 1 --out var_init.safetensors')
    .action(async (family: Family, options: InitOptions) => init(new Context(options, signal), family, options));
}
