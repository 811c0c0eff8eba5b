import type { Engine, Tensor } from '../../engine/index.js';
import { drawRows } from './draw.js';
import { gather } from './kmeans.js';
import type { DeadCodeRestart } from './options.js';
import type { CodebookUsage } from './usage.js';

/** Codes that were not hit for `after` iterations, or whose running hits are below `below` and that are old enough to have some. */
export function deadCodes(usage: CodebookUsage, { after, below }: DeadCodeRestart, gIt: number): Int32Array {
  const dead: number[] = [];
  for (let v = 0; v < usage.lastHit.length; v++) {
    const rare = below > 0 && gIt - usage.born[v]! >= after && usage.emaOf(v) < below;
    if (rare || gIt - usage.lastHit[v]! >= after) dead.push(v);
  }
  return Int32Array.from(dead);
}

/** Overwrites rows of the codebook [V, C] with random rows of `recent` [N, C]. */
export function replaceCodes(engine: Engine, codebook: Tensor, recent: Tensor, rows: Int32Array, seed: number, gIt: number): void {
  const from = drawRows(seed, 'vqvae.restart', gIt, rows.length, recent.shape[0]!);
  engine.scope(() => {
    engine.ops.scatterRows(codebook, engine.tensor(rows, [rows.length]), gather(engine, recent, from));
  });
}
