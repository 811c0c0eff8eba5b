// Files of tokens: .safetensors with one I32 tensor [images, tokens] per scale, or .json.
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { openCheckpoint, writeSafetensors, writeWhole } from '../checkpoint/index.js';
import { ArgumentError, CheckpointError } from '../core/errors.js';

export const TOKENS_FORMAT = 'nextscale-tokens';

export interface TokenFile {
  patchNums: number[];
  /** file names, one per image */
  images: string[];
  /** per scale the tokens of all images, [images * pn * pn] */
  tokens: Int32Array[];
}

interface TokenJson {
  format: string;
  patchNums: number[];
  images: { file: string; scales: number[][] }[];
}

export function checkTokensName(option: string, path: string): void {
  if (!['.safetensors', '.json'].includes(extname(path).toLowerCase())) {
    throw new ArgumentError(`${option}: got '${path}', accepted: a name ending in .safetensors or .json`);
  }
}

export async function writeTokens(path: string, t: TokenFile, signal?: AbortSignal): Promise<void> {
  const n = t.images.length;
  if (extname(path).toLowerCase() === '.json') {
    const images = t.images.map((file, i) => ({
      file,
      scales: t.tokens.map((all) => [...all.subarray((i * all.length) / n, ((i + 1) * all.length) / n)]),
    }));
    const json: TokenJson = { format: TOKENS_FORMAT, patchNums: t.patchNums, images };
    await writeWhole(path, `${JSON.stringify(json)}\n`, { signal });
    return;
  }
  const tensors = Object.fromEntries(
    t.tokens.map((data, si) => [scaleKey(si), { dtype: 'i32' as const, shape: [n, data.length / n], data }]),
  );
  const metadata = { format: TOKENS_FORMAT, patch_nums: t.patchNums.join('_'), images: JSON.stringify(t.images) };
  await writeSafetensors(path, tensors, metadata, { signal });
}

const scaleKey = (si: number): string => `scale_${String(si).padStart(2, '0')}`;

export async function readTokens(path: string): Promise<TokenFile> {
  const t = extname(path).toLowerCase() === '.json' ? await readJson(path) : await readTensors(path);
  for (const [si, pn] of t.patchNums.entries()) {
    const want = t.images.length * pn * pn;
    if (t.tokens[si]?.length !== want)
      throw new CheckpointError(
        `${path}: scale ${si} has ${t.tokens[si]?.length ?? 'no'} tokens, ${t.images.length} images of ${pn} x ${pn} need ${want}`,
        { file: path },
      );
  }
  return t;
}

async function readJson(path: string): Promise<TokenFile> {
  let json: Partial<TokenJson>;
  try {
    json = JSON.parse(await readFile(path, 'utf8')) as Partial<TokenJson>;
  } catch (e) {
    throw new CheckpointError(`${path}: ${(e as Error).message}`, { file: path, cause: e });
  }
  const { patchNums, images } = json;
  const numbers = (v: unknown): v is number[] => Array.isArray(v) && v.every((x) => Number.isInteger(x));
  if (json.format !== TOKENS_FORMAT || !numbers(patchNums) || !Array.isArray(images) || images.length === 0) {
    throw new CheckpointError(`${path}: not a ${TOKENS_FORMAT} file`, { file: path });
  }
  if (!images.every((i) => Array.isArray(i?.scales) && i.scales.length === patchNums.length && i.scales.every(numbers)))
    throw new CheckpointError(`${path}: an image lacks tokens of one of the ${patchNums.length} scales`, { file: path });
  const tokens = patchNums.map((_, si) => Int32Array.from(images.flatMap((i) => i.scales[si]!)));
  return { patchNums, images: images.map((i) => String(i.file)), tokens };
}

function namesOf(json: string): string[] | null {
  try {
    const names = JSON.parse(json) as unknown;
    return Array.isArray(names) && names.length > 0 ? names.map(String) : null;
  } catch {
    return null;
  }
}

async function readTensors(path: string): Promise<TokenFile> {
  using file = await openCheckpoint(path);
  const { format, patch_nums = '', images = '[]' } = file.metadata;
  if (format !== TOKENS_FORMAT)
    throw new CheckpointError(`${path}: not a ${TOKENS_FORMAT} file (metadata format is ${format ?? 'absent'})`, { file: path });
  const patchNums = patch_nums.split('_').map(Number);
  const names = namesOf(images);
  if (!patchNums.every((pn) => Number.isInteger(pn) && pn > 0) || !names)
    throw new CheckpointError(`${path}: patch_nums or images of its metadata cannot be read`, { file: path });
  const tokens: Int32Array[] = [];
  for (const si of patchNums.keys()) tokens.push(new Int32Array((await file.bytes(scaleKey(si))).slice().buffer));
  return { patchNums, images: names, tokens };
}
