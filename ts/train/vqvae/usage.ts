import { ArgumentError } from '../../core/errors.js';

/** Share of the mean hits per code above which VectorQuantizer2 calls a code used. */
const USED_SHARE = 0.08;
/** Records after which the running hit counts move slowly. */
const FAST_RECORDS = 100;
/** A fall by more than this share since the epoch before is worth a warning. */
const FALL = 1 / 3;
/** Below this share of used codes, in percent, the codebook is mostly dead. */
const LOW_USAGE = 20;

/** How often the codes were hit: usage and dead codes in percent and number, perplexity = exp of the entropy of the hits. */
export interface HitStats {
  readonly usage: number;
  readonly perplexity: number;
  readonly dead: number;
}

/** Statistics of hit counts. Without any hit the perplexity is 0. */
export function hitStats(counts: ArrayLike<number>): HitStats {
  let [total, used] = [0, 0];
  for (let v = 0; v < counts.length; v++) {
    total += counts[v]!;
    if (counts[v]! > 0) used++;
  }
  let entropy = 0;
  for (let v = 0; v < counts.length; v++) if (counts[v]! > 0) entropy -= (counts[v]! / total) * Math.log(counts[v]! / total);
  return { usage: (100 * used) / counts.length, perplexity: used > 0 ? Math.exp(entropy) : 0, dead: counts.length - used };
}

/** What a checkpoint keeps of the counts; the running ones are `ema_vocab_hit_SV` of the state dict. */
export interface UsageState {
  readonly recordHit: number;
  readonly counts: Float64Array;
  readonly lastHit: Int32Array;
  readonly born: Int32Array;
  /** usage and perplexity of every scale in the last epoch, then of all; absent in the first one. */
  readonly before: readonly number[];
}

/** Hit counts of the codes per scale: running (the reference's ema_vocab_hit_SV), over the epoch, and when each was hit last. */
export class CodebookUsage {
  /** [S, V]. */
  readonly ema: Float32Array;
  /** [V]: iteration of the last hit or replacement; -1: none yet. */
  readonly lastHit: Int32Array;
  /** [V]: iteration in which the code was last replaced; -1: it is one of the first. */
  readonly born: Int32Array;
  private recordHit = 0;
  private counts: Float64Array;
  private before: number[] = [];

  constructor(
    private readonly patchNums: readonly number[],
    private readonly vocabSize: number,
  ) {
    this.ema = new Float32Array(patchNums.length * vocabSize);
    this.counts = new Float64Array(patchNums.length * vocabSize);
    this.lastHit = new Int32Array(vocabSize).fill(-1);
    this.born = new Int32Array(vocabSize).fill(-1);
  }

  /** These codes have other values since iteration gIt. */
  replaced(rows: Int32Array, gIt: number): void {
    for (const v of rows) this.lastHit[v] = this.born[v] = gIt;
  }

  /** Counts the tokens [B, L] of an iteration. */
  record(tokens: Int32Array, gIt: number): void {
    const { patchNums, vocabSize } = this;
    const total = patchNums.reduce((sum, pn) => sum + pn * pn, 0);
    if (tokens.length % total !== 0) throw new ArgumentError(`tokens: ${tokens.length} were given, expected a multiple of ${total}`);
    let from = 0;
    for (const [si, pn] of patchNums.entries()) {
      const hits = new Float64Array(vocabSize);
      for (let at = from; at < tokens.length; at += total)
        for (let i = at; i < at + pn * pn; i++) {
          hits[tokens[i]!]!++;
          this.lastHit[tokens[i]!] = gIt;
        }
      this.recordScale(si, hits);
      from += pn * pn;
    }
  }

  // The reference counts its records per scale, so that only the first scale starts with a copy.
  private recordScale(si: number, hits: Float64Array): void {
    const { ema, counts, vocabSize } = this;
    const keep = Math.fround(this.recordHit < FAST_RECORDS ? 0.9 : 0.99);
    const take = Math.fround(this.recordHit < FAST_RECORDS ? 0.1 : 0.01);
    const copy = this.recordHit === 0;
    const base = si * vocabSize;
    for (let v = 0; v < vocabSize; v++) {
      counts[base + v]! += hits[v]!;
      ema[base + v] = copy ? hits[v]! : Math.fround(ema[base + v]! * keep) + Math.fround(hits[v]! * take);
    }
    this.recordHit++;
  }

  /** Codes in percent per scale whose running hits reach the reference's margin; `vectors`: B * h * w of one iteration of all processes. */
  usages(vectors: number): number[] {
    const { ema, vocabSize } = this;
    const margin = (vectors / vocabSize) * USED_SHARE;
    return this.patchNums.map((_, si) => {
      const row = ema.subarray(si * vocabSize, (si + 1) * vocabSize);
      return (100 * row.reduce((used, hits) => used + (hits >= margin ? 1 : 0), 0)) / vocabSize;
    });
  }

  /** Running hits of a code over all scales. */
  emaOf(code: number): number {
    let sum = 0;
    for (let at = code; at < this.ema.length; at += this.vocabSize) sum += this.ema[at]!;
    return sum;
  }

  /** Statistics of the epoch so far: per scale, and of all scales together. */
  stats(): { scales: HitStats[]; all: HitStats } {
    const { counts, vocabSize } = this;
    const all = new Float64Array(vocabSize);
    for (let i = 0; i < counts.length; i++) all[i % vocabSize]! += counts[i]!;
    return { scales: this.patchNums.map((_, si) => hitStats(counts.subarray(si * vocabSize, (si + 1) * vocabSize))), all: hitStats(all) };
  }

  /** Ends an epoch: its statistics under TensorBoard tags, what is worth a warning; counts start from zero. */
  endEpoch(head: string): { metrics: Record<string, number>; warnings: string[] } {
    const { scales, all } = this.stats();
    const metrics: Record<string, number> = {};
    const put = ({ usage, perplexity, dead }: HitStats, suffix: string) => {
      metrics[`${head}/usage${suffix}`] = usage;
      metrics[`${head}/perplexity${suffix}`] = perplexity;
      metrics[`${head}/dead${suffix}`] = dead;
    };
    for (const [si, stats] of scales.entries()) put(stats, `_${this.patchNums[si]}`);
    put(all, '');
    const warnings = all.perplexity === 0 ? [] : this.warn([...scales, all]);
    if (all.perplexity > 0) this.before = [...scales, all].flatMap(({ usage, perplexity }) => [usage, perplexity]);
    this.counts = new Float64Array(this.counts.length);
    return { metrics, warnings };
  }

  private warn(stats: readonly HitStats[]): string[] {
    const warnings: string[] = [];
    const name = (i: number) => (i < this.patchNums.length ? `at scale ${this.patchNums[i]}` : 'of the codebook');
    for (const [i, now] of stats.entries())
      for (const [k, what] of (['usage', 'perplexity'] as const).entries()) {
        const was = this.before[2 * i + k];
        if (was !== undefined && now[what] < was * (1 - FALL))
          warnings.push(`${what} ${name(i)} fell from ${was.toFixed(1)} to ${now[what].toFixed(1)}`);
      }
    const { usage, dead } = stats.at(-1)!;
    if (usage < LOW_USAGE) warnings.push(`only ${usage.toFixed(1)} % of the codes were used in this epoch (${dead} were not)`);
    return warnings;
  }

  state(): UsageState {
    const { recordHit, counts, lastHit, born, before } = this;
    return { recordHit, counts: counts.slice(), lastHit: lastHit.slice(), born: born.slice(), before: [...before] };
  }

  /** Throws ArgumentError where the sizes differ. */
  restore({ recordHit, counts, lastHit, born, before }: UsageState, ema: ArrayLike<number>): void {
    if (counts.length !== this.counts.length || lastHit.length !== this.lastHit.length || ema.length !== this.ema.length)
      throw new ArgumentError(`hit counts are of ${counts.length} entries, expected ${this.counts.length}`);
    this.recordHit = recordHit;
    this.counts.set(counts);
    this.lastHit.set(lastHit);
    this.born.set(born);
    this.before = [...before];
    this.ema.set(ema);
  }
}
