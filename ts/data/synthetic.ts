// Pictures made from a seed, for trials without data: a class has a shape and a colour, an image its place, size and noise.
import { setImmediate } from 'node:timers/promises';
import { checkInt, checkOptions, throwIfAborted } from '../core/check.js';
import { PHILOX_STREAMS, Philox, philox, uniform } from '../core/philox.js';
import { drawWords } from './augment.js';
import type { BatchSource, ImageBatch } from './batch.js';
import { BatchOrder, type OrderOptions } from './order.js';
import { inOrder } from './turns.js';

export interface SyntheticOptions extends OrderOptions {
  reso: number;
  /** Default 4. */
  numClasses?: number;
  /** Images of the set; default 64. */
  images?: number;
}

const SHAPES = ['disc', 'square', 'stripes', 'ring'] as const;
const OPTIONS: readonly string[] = [
  ...['reso', 'numClasses', 'images'],
  ...['mode', 'batchSize', 'seed', 'rank', 'worldSize', 'shuffle', 'fillLast', 'repeatedAug'],
];

/** Synthetic images as batches; image i is of class i mod numClasses and depends on (seed, i) alone. */
export class SyntheticSource implements BatchSource<ImageBatch> {
  readonly iters: number;
  readonly numClasses: number;
  readonly classes: readonly string[];
  readonly skipped: ReadonlyMap<string, string> = new Map();
  readonly reso: number;
  private readonly order: BatchOrder;
  private readonly seed: number;

  constructor(options: SyntheticOptions) {
    checkOptions('SyntheticSource', options, OPTIONS);
    const { reso, numClasses = 4, images = 64, ...order } = options;
    this.reso = checkInt('reso', reso, 4, 4096);
    this.numClasses = checkInt('numClasses', numClasses, 1, 65536);
    this.classes = Array.from({ length: numClasses }, (_, c) => `${SHAPES[c % SHAPES.length]}-${c}`);
    this.seed = checkInt('seed', order.seed ?? 0, 0);
    this.order = new BatchOrder(checkInt('images', images, 1), order);
    this.iters = this.order.iters;
  }

  async *epoch(ep: number, startIt = 0, signal?: AbortSignal): AsyncGenerator<ImageBatch, void, undefined> {
    const batches = this.order.epoch(ep, startIt);
    yield* inOrder(batches.length, 1, (i, stop) => this.batch(batches[i]!, stop), signal);
  }

  async close(): Promise<void> {}

  private async batch(indices: readonly number[], signal: AbortSignal): Promise<ImageBatch> {
    const { reso, numClasses, seed } = this;
    const bytes = 3 * reso * reso;
    const pixels = new Uint8Array(indices.length * bytes);
    for (const [i, index] of indices.entries()) {
      await setImmediate();
      throwIfAborted(signal);
      pixels.set(syntheticImage(reso, index % numClasses, seed, index), i * bytes);
    }
    return { kind: 'images', pixels, reso, labels: Int32Array.from(indices, (i) => i % numClasses), indices: Int32Array.from(indices) };
  }
}

/** [reso, reso, 3] bytes. */
export function syntheticImage(reso: number, label: number, seed: number, index: number): Uint8Array {
  const [wx, wy, wr, wn] = drawWords({ seed, epoch: 0, index }, PHILOX_STREAMS.synthetic) as [number, number, number, number];
  const [x0, y0, r] = [0.3 + 0.4 * uniform(wx), 0.3 + 0.4 * uniform(wy), 0.15 + 0.15 * uniform(wr)];
  const hues = philox([label, 0, 1, PHILOX_STREAMS.synthetic], [0, 0]);
  const [back, front] = [0, 8].map((shift) => hues.slice(0, 3).map((word) => (word >>> shift) & 0xff)) as [number[], number[]];
  const noise = new Philox(wn, index);
  const out = new Uint8Array(3 * reso * reso);
  for (let i = 0; i < reso * reso; i++) {
    const [dx, dy] = [((i % reso) + 0.5) / reso - x0, (Math.floor(i / reso) + 0.5) / reso - y0];
    const colour = inside(label % SHAPES.length, dx, dy, r) ? front : back;
    const word = noise.next();
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.max(0, Math.min(255, colour[c]! + ((word >>> (8 * c)) & 15) - 8));
  }
  return out;
}

function inside(shape: number, dx: number, dy: number, r: number): boolean {
  const d = Math.hypot(dx, dy);
  if (shape === 0) return d < r;
  if (shape === 1) return Math.max(Math.abs(dx), Math.abs(dy)) < r;
  return shape === 2 ? Math.sin((dx + dy) * (3 / r)) > 0 : d > 0.6 * r && d < 1.2 * r;
}
