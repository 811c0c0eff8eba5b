// Philox4x32-10 (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011; Random123).
const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;
const ROUNDS = 10;

// High 32 bits of an unsigned product, by 16-bit halves.
function mulHigh(a: number, b: number): number {
  const [al, ah, bl, bh] = [a & 0xffff, a >>> 16, b & 0xffff, b >>> 16];
  const low = al * bl;
  const mid = ah * bl + (low >>> 16);
  const mid2 = al * bh + (mid % 0x10000);
  return (ah * bh + Math.floor(mid / 0x10000) + Math.floor(mid2 / 0x10000)) >>> 0;
}

export type Words4 = [number, number, number, number];

/** Four random 32-bit words for a counter of four words and a key of two; all unsigned. */
export function philox(counter: readonly [number, number, number, number], key: readonly [number, number]): Words4 {
  let [c0, c1, c2, c3] = [counter[0] >>> 0, counter[1] >>> 0, counter[2] >>> 0, counter[3] >>> 0];
  let [k0, k1] = [key[0] >>> 0, key[1] >>> 0];
  for (let round = 0; round < ROUNDS; round++) {
    const hi0 = mulHigh(M0, c0);
    const lo0 = Math.imul(M0, c0) >>> 0;
    const hi1 = mulHigh(M1, c2);
    const lo1 = Math.imul(M1, c2) >>> 0;
    [c0, c1, c2, c3] = [(hi1 ^ c1 ^ k0) >>> 0, lo1, (hi0 ^ c3 ^ k1) >>> 0, lo0];
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The number a word stands for: (word + 0.5) / 2^32, in (0, 1). */
export function uniform(word: number): number {
  return (word + 0.5) * 2 ** -32;
}

/** Last counter word by purpose, as in native/cpu/philox.h: no two draws share a counter. */
export const PHILOX_STREAMS = {
  multinomial: 0,
  gumbel: 0x47000000,
  random: 0x52,
  host: 0x48,
  augment: 0x41,
  variant: 0x56,
  synthetic: 0x53,
} as const;

/** Words for host-side shuffles and seeds, in counter order; (seed, stream) name the sequence. */
export class Philox {
  readonly #key: readonly [number, number];
  readonly #stream: number;
  #block = 0;
  #words: Words4 = [0, 0, 0, 0];
  #left = 0;

  /** seed: an integer in [0, 2^53); stream: in [0, 2^32). */
  constructor(seed: number, stream = 0) {
    this.#key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0];
    this.#stream = stream >>> 0;
  }

  /** An unsigned 32-bit word. */
  next(): number {
    if (this.#left === 0) {
      const b = this.#block++;
      this.#words = philox([b >>> 0, Math.floor(b / 2 ** 32) >>> 0, this.#stream, PHILOX_STREAMS.host], this.#key);
      this.#left = 4;
    }
    return this.#words[4 - this.#left--] as number;
  }

  /** Uniform in (0, 1). */
  uniform(): number {
    return uniform(this.next());
  }

  /** Uniform integer in [0, n), n up to 2^32, without bias. */
  below(n: number): number {
    const limit = 2 ** 32 - (2 ** 32 % n);
    for (;;) {
      const w = this.next();
      if (w < limit) return w % n;
    }
  }
}
