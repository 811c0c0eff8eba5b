import { checkInt } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import { type PatchSize, patchSizes, type VqvaeConfig } from '../models/vqvae/index.js';

/** Tokens of a batch of images. */
export interface Tokens {
  readonly count: number;
  readonly patchNums: readonly PatchSize[];
  /** Per scale the tokens of all images, [count * ph * pw], row by row. */
  readonly tokens: Int32Array[];
}

export interface TokenLayout {
  /** Sizes of the token maps; default: the model's. */
  readonly patchNums?: readonly PatchSize[];
  /** Images in the batch; default: told by the length of the first map. */
  readonly count?: number;
}

export interface CheckedTokens {
  readonly maps: readonly Int32Array[];
  readonly sizes: readonly (readonly [number, number])[];
  readonly count: number;
}

/** Checks number, lengths and range of token maps; throws ArgumentError. */
export function checkTokens(tokens: readonly Int32Array[] | Tokens, options: TokenLayout, config: VqvaeConfig): CheckedTokens {
  const whole = isTokens(tokens) ? tokens : null;
  const maps: readonly Int32Array[] = whole ? whole.tokens : (tokens as readonly Int32Array[]);
  if (!Array.isArray(maps) || maps.length === 0)
    throw new ArgumentError('tokens: an empty list was given, token maps of every scale are expected');
  const given = options.patchNums ?? whole?.patchNums ?? config.patchNums;
  const sizes = patchSizes(given);
  if (sizes.length !== maps.length)
    throw new ArgumentError(`tokens: ${maps.length} maps were given for ${sizes.length} scales (patchNums ${JSON.stringify(given)})`);
  const asked = options.count ?? whole?.count;
  const count = asked === undefined ? maps[0]!.length / (sizes[0]![0] * sizes[0]![1]) : checkInt('count', asked, 1);
  for (const [si, map] of maps.entries()) {
    const want = count * sizes[si]![0] * sizes[si]![1];
    const length = map instanceof Int32Array ? map.length : -1;
    if (length !== want || want === 0)
      throw new ArgumentError(`tokens[${si}]: ${length < 0 ? typeof map : `${length} tokens`} given, an Int32Array of ${want} is expected`);
    const bad = map.findIndex((token: number) => token < 0 || token >= config.vocabSize);
    if (bad >= 0) throw new ArgumentError(`tokens[${si}][${bad}]: ${map[bad]} was given, accepted is 0 to ${config.vocabSize - 1}`);
  }
  return { maps, sizes, count };
}

function isTokens(value: readonly Int32Array[] | Tokens): value is Tokens {
  return typeof value === 'object' && value !== null && 'tokens' in value;
}

/** The parts one after another. */
export function joinTokens(parts: readonly Int32Array[]): Int32Array {
  const out = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
