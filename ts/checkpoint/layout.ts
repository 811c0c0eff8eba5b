// Where in a file the state dict lies. Trainers wrap it in dicts and prefixes; names are unwrapped until they are the model's own.
import { fail } from './fail.js';
import type { Flat } from './flatten.js';
import type { FileTensor } from './value.js';

/** Places where state dicts are known to lie, in the order of preference. */
export const KNOWN_ROOTS = ['trainer.var_wo_ddp', 'trainer.vae_local', 'state_dict', 'model', 'model_ema', 'module', 'ema', 'net'] as const;

/** Prefixes that wrappers (DDP, torch.compile, FSDP) put before every name. */
const WRAPPERS = ['module.', '_orig_mod.', '_fsdp_wrapped_module.'];

/** Known roots that the file holds. */
export function knownRoots(flat: Flat): string[] {
  const names = [...flat.tensors.keys()];
  return KNOWN_ROOTS.filter((root) => {
    const first = `${root.split('.')[0]}.`;
    if (flat.direct && !names.every((name) => name.startsWith(first))) return false;
    return names.some((name) => name.startsWith(`${root}.`));
  });
}

/** The tensors below root, names without it; root '' is the whole file as it stands. */
export function tensorsAt(flat: Flat, root: string, file: string): Map<string, FileTensor> {
  if (root === '') return flat.tensors;
  const prefix = `${root}.`;
  const out = new Map<string, FileTensor>();
  for (const [name, tensor] of flat.tensors) if (name.startsWith(prefix)) out.set(name.slice(prefix.length), tensor);
  return unwrap(out, file);
}

/** Drops wrapper prefixes that all names share, and torch.compile's segments wherever they stand. */
export function unwrap(tensors: Map<string, FileTensor>, file: string): Map<string, FileTensor> {
  let prefix = '';
  const names = [...tensors.keys()];
  for (let found = names.length > 0; found; ) {
    const next = WRAPPERS.find((wrapper) => names.every((name) => name.startsWith(prefix + wrapper)));
    found = next !== undefined;
    prefix += next ?? '';
  }
  const out = new Map<string, FileTensor>();
  for (const [name, tensor] of tensors) {
    const short = name.slice(prefix.length).replace(/(^|\.)_orig_mod\./g, '$1');
    if (out.has(short)) fail({ file, key: name }, `without wrapper prefixes two tensors are called ${JSON.stringify(short)}`);
    out.set(short, tensor);
  }
  return out;
}

/** Picks the root: the first wanted one that exists, else the first known one, else the file itself. */
export function chooseRoot(flat: Flat, wanted: string | readonly string[] | undefined, file: string): string {
  const has = (root: string): boolean => root === '' || [...flat.tensors.keys()].some((name) => name.startsWith(`${root}.`));
  if (typeof wanted === 'string') {
    if (!has(wanted)) fail({ file }, `no tensors below ${JSON.stringify(wanted)}; the file has ${describeRoots(flat)}`);
    return wanted;
  }
  return wanted?.find(has) ?? knownRoots(flat)[0] ?? '';
}

function describeRoots(flat: Flat): string {
  const known = knownRoots(flat);
  if (known.length > 0) return known.map((root) => JSON.stringify(root)).join(', ');
  const first = new Set([...flat.tensors.keys()].map((name) => name.split('.')[0]!));
  return flat.tensors.size === 0
    ? 'no tensors'
    : `names beginning with ${[...first]
        .slice(0, 8)
        .map((name) => JSON.stringify(name))
        .join(', ')}`;
}
