// nextscale convert: .pth <-> .safetensors, with another dtype or from inside a wrapped file; the result is compared with the source.
import { stat } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { Command } from 'commander';
import { type ByteSource, type Checkpoint, openCheckpoint, writePth, writeSafetensors } from '../checkpoint/index.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';
import { createEngine, type Engine } from '../engine/index.js';
import { bytes, type CommonOptions, Context, common, duration } from './context.js';
import { ensureFolder } from './images.js';
import { oneOf } from './options.js';

type Narrow = 'f32' | 'f16' | 'bf16';

interface ConvertOptions extends CommonOptions {
  dtype?: Narrow;
  root?: string;
}

const FLOATS = new Set(['f32', 'f64', 'f16', 'bf16']);

/** Tensors of the checkpoint, floating point ones in another dtype, read one at a time. */
function sources(checkpoint: Checkpoint, dtype: Narrow | undefined, engine: Engine | undefined): Map<string, ByteSource> {
  const out = new Map<string, ByteSource>();
  for (const key of checkpoint.keys()) {
    const info = checkpoint.info(key);
    const keep = !dtype || !engine || info.dtype === dtype || !FLOATS.has(info.dtype);
    out.set(key, keep ? checkpoint.source(key) : { dtype, shape: info.shape, data: () => cast(engine, checkpoint, key, dtype) });
  }
  return out;
}

async function cast(engine: Engine, checkpoint: Checkpoint, key: string, dtype: Narrow): Promise<ArrayBufferView> {
  const tensor = checkpoint.load(engine, key, { dtype });
  try {
    return await tensor.read();
  } finally {
    tensor.dispose();
  }
}

function watched(all: Map<string, ByteSource>, signal: AbortSignal, step: (key: string) => void): Map<string, ByteSource> {
  const out = new Map<string, ByteSource>();
  for (const [key, source] of all) {
    const data = async (): Promise<ArrayBufferView> => {
      signal.throwIfAborted();
      step(key);
      return typeof source.data === 'function' ? await source.data() : source.data;
    };
    out.set(key, { ...source, data });
  }
  return out;
}

async function verify(path: string, all: Map<string, ByteSource>, signal: AbortSignal, step: () => void): Promise<void> {
  const written = await openCheckpoint(path, { root: '' });
  for (const [key, source] of all) {
    signal.throwIfAborted();
    const want = typeof source.data === 'function' ? await source.data() : source.data;
    const got = await written.bytes(key);
    const info = written.info(key);
    const same = info.dtype === source.dtype && info.shape.join() === source.shape.join();
    if (!same || Buffer.compare(got, new Uint8Array(want.buffer, want.byteOffset, want.byteLength)) !== 0) {
      throw new CheckpointError(`${path}: ${key} is not what was to be written`, { file: path, key });
    }
    step();
  }
  written.close();
}

async function convert(ctx: Context, input: string, output: string, options: ConvertOptions): Promise<void> {
  const kind = extname(output).toLowerCase();
  if (!['.safetensors', '.pth', '.pt', '.ckpt', '.bin'].includes(kind)) {
    throw new ArgumentError(`OUT: got '${output}', accepted: a name ending in .safetensors, .pth, .pt, .ckpt or .bin`);
  }
  if (resolve(input) === resolve(output)) throw new ArgumentError(`OUT: got '${output}', which is IN; accepted: another file`);
  await ensureFolder('OUT', dirname(output));
  const checkpoint = await openCheckpoint(input, options.root === undefined ? {} : { root: options.root });
  await using engine = options.dtype ? await createEngine() : undefined;
  const all = sources(checkpoint, options.dtype, engine);
  using writing = ctx.progress('write', all.size);
  const tensors = watched(all, ctx.signal, (key) => writing.step(key));
  if (kind === '.safetensors') await writeSafetensors(output, tensors, { ...checkpoint.metadata, format: 'pt' }, { signal: ctx.signal });
  else await writePth(output, tensors, { signal: ctx.signal });
  writing.stop();
  using checking = ctx.progress('verify', all.size);
  await verify(output, all, ctx.signal, () => checking.step());
  checking.stop();
  const size = (await stat(output)).size;
  const { root, format } = checkpoint;
  const data = {
    in: input,
    out: output,
    from: format,
    root,
    tensors: all.size,
    dtype: options.dtype ?? null,
    bytes: size,
    verified: true,
    seconds: ctx.seconds(),
  };
  const where = root ? ` (${root})` : '';
  ctx.result(data, `${output}: ${all.size} tensors from ${input}${where}, ${bytes(size)}, verified, ${duration(ctx.seconds())}`);
}

export function convertCommand(signal: AbortSignal): Command {
  return common(new Command('convert'))
    .description('Convert a checkpoint between .pth and .safetensors, by the name of OUT, and verify the result.')
    .argument('<in>', 'checkpoint to read')
    .argument('<out>', 'file to write: .safetensors, .pth, .pt, .ckpt or .bin')
    .option('--dtype <dtype>', 'store floating point tensors as f32, f16 or bf16', oneOf('--dtype', ['f32', 'f16', 'bf16']))
    .option('--root <path>', "where the state dict lies in a wrapped file, as 'trainer.var_wo_ddp'; '' takes the file as it stands")
    .addHelpText('after', '\nExample:\n  nextscale convert var_d16.pth var_d16-f16.safetensors --dtype f16')
    .action(async (input: string, output: string, options: ConvertOptions) =>
      convert(new Context(options, signal), input, output, options),
    );
}
