// nextscale inspect: what is in a checkpoint.
import { Command } from 'commander';
import { type Checkpoint, openCheckpoint } from '../checkpoint/index.js';
import { inferVarConfig } from '../models/var/index.js';
import { DEFAULT_VQVAE, inferVqvaeConfig } from '../models/vqvae/index.js';
import { bytes, type CommonOptions, Context, common } from './context.js';

interface InspectOptions extends CommonOptions {
  keys?: boolean;
  root?: string;
}

export interface Described {
  family: 'var' | 'vqvae' | 'unknown';
  config?: Record<string, unknown>;
  /** why the configuration could not be read although the family is known */
  problem?: string;
}

async function levels(checkpoint: Checkpoint): Promise<readonly number[] | null> {
  if (!checkpoint.has('lvl_1L') || checkpoint.info('lvl_1L').dtype !== 'i64') return null;
  const raw = await checkpoint.bytes('lvl_1L');
  const counts: number[] = [];
  for (const level of new BigInt64Array(raw.slice().buffer)) counts[Number(level)] = (counts[Number(level)] ?? 0) + 1;
  return counts;
}

/** Family and configuration, as far as keys and shapes tell. */
export async function describe(checkpoint: Checkpoint): Promise<Described> {
  const family = checkpoint.has('pos_1LC') ? 'var' : checkpoint.has('quantize.embedding.weight') ? 'vqvae' : 'unknown';
  try {
    if (family === 'vqvae') return { family, config: inferVqvaeConfig(checkpoint) };
    if (family === 'var') return { family, config: await inferVarConfig(checkpoint, {}, DEFAULT_VQVAE, () => levels(checkpoint)) };
  } catch (e) {
    return { family, problem: (e as Error).message };
  }
  return { family };
}

function summary(checkpoint: Checkpoint) {
  const dtypes: Record<string, number> = {};
  let parameters = 0;
  for (const key of checkpoint.keys()) {
    const { dtype, shape } = checkpoint.info(key);
    dtypes[dtype] = (dtypes[dtype] ?? 0) + 1;
    if (!BUFFERS.test(key)) parameters += shape.reduce((a, b) => a * b, 1);
  }
  return { dtypes, parameters };
}

// Entries of the reference's state dicts that are not trained.
const BUFFERS = /(^|\.)(lvl_1L|attn_bias_for_masking|zero_k_bias|ema_vocab_hit_SV)$/;

function tensorTable(checkpoint: Checkpoint) {
  return checkpoint.keys().map((key) => ({ key, ...checkpoint.info(key), ...checkpoint.location(key) }));
}

function render(checkpoint: Checkpoint, d: Described, s: ReturnType<typeof summary>, keys: boolean): string {
  const config = Object.entries(d.config ?? {}).map(
    ([name, value]) => `  ${name.padEnd(18)} ${Array.isArray(value) ? value.join('_') : String(value)}`,
  );
  const other = checkpoint.roots.filter((root) => root !== checkpoint.root);
  const lines = [
    `${checkpoint.path}: ${checkpoint.format}, ${bytes(checkpoint.fileSize)}`,
    `root        ${checkpoint.root || '(the file itself)'}${other.length ? `; also here: ${other.join(', ')}` : ''}`,
    `family      ${d.family}${d.problem ? ` (${d.problem})` : ''}`,
    ...config,
    `parameters  ${s.parameters} (${(s.parameters / 1e6).toFixed(1)} M)`,
    `tensors     ${checkpoint.keys().length} (${Object.entries(s.dtypes)
      .map(([dtype, n]) => `${n} ${dtype}`)
      .join(', ')})`,
    ...Object.entries(checkpoint.metadata).map(
      ([name, value]) => `metadata    ${name} = ${value.length > 100 ? `${value.slice(0, 97)}...` : value}`,
    ),
  ];
  if (keys) lines.push('', ...tensorTable(checkpoint).map((t) => `${t.dtype.padEnd(5)} ${`[${t.shape.join(', ')}]`.padEnd(24)} ${t.key}`));
  return lines.join('\n');
}

export function inspectCommand(signal: AbortSignal): Command {
  return common(new Command('inspect'))
    .description('Tell what a checkpoint holds: family, size, configuration, dtypes, tensors.')
    .argument('<file>', 'checkpoint: .pth or .safetensors')
    .option('--keys', 'list every tensor')
    .option('--root <path>', "where the state dict lies in a wrapped file; '' takes the file as it stands")
    .addHelpText('after', '\nExample:\n  nextscale inspect var_d16.pth --keys')
    .action(async (file: string, options: InspectOptions) => {
      const ctx = new Context(options, signal);
      using checkpoint = await openCheckpoint(file, options.root === undefined ? {} : { root: options.root });
      const d = await describe(checkpoint);
      const s = summary(checkpoint);
      const { path, format, fileSize, root, roots, metadata } = checkpoint;
      const data = {
        file: path,
        format,
        bytes: fileSize,
        root,
        roots,
        ...d,
        ...s,
        metadata,
        tensors: ctx.json ? tensorTable(checkpoint) : [],
      };
      ctx.result(data, ctx.json ? '' : render(checkpoint, d, s, options.keys === true));
    });
}
