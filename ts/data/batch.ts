/** Images of one micro-batch, on the host: [B, reso, reso, 3] bytes and their labels. */
export interface ImageBatch {
  readonly kind: 'images';
  readonly pixels: Uint8Array;
  readonly reso: number;
  /** [B], 0..numClasses - 1. */
  readonly labels: Int32Array;
  /** [B], places in the dataset. */
  readonly indices: Int32Array;
}

/** Tokens of one micro-batch, from the token cache: [B, L] of all scales in order. */
export interface TokenBatch {
  readonly kind: 'tokens';
  readonly tokens: Int32Array;
  readonly labels: Int32Array;
  readonly indices: Int32Array;
}

export type Batch = ImageBatch | TokenBatch;

/** Batches of a dataset in the order of its sampler; the same (seed, epoch) gives the same batches for any number of workers. */
export interface BatchSource<B extends Batch = Batch> {
  /** Iterations of one epoch. */
  readonly iters: number;
  readonly numClasses: number;
  readonly classes: readonly string[];
  /** Batches of epoch `ep` from iteration `startIt` on; ends with the epoch, or early when the signal fires (AbortError). */
  epoch(ep: number, startIt?: number, signal?: AbortSignal): AsyncIterable<B>;
  /** Images that could not be read so far, by name. */
  readonly skipped: ReadonlyMap<string, string>;
  close(): Promise<void>;
}
