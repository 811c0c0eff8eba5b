/** The functions of the native addon; only this folder calls them. */
export type Handle = { readonly __engine: never };

/** What a late error is on its way from the worker. */
export interface NativeError {
  readonly code: number;
  readonly op: string;
  readonly shapes: string;
  readonly command: number;
  readonly message: string;
}

export interface NativeStats {
  readonly commands: number;
  readonly inFlightCommands: number;
  readonly inFlightBytes: number;
  readonly failed: number;
  readonly replays: { readonly graph: number; readonly calls: number };
  readonly poolBytes: number;
  readonly liveBytes: number;
  readonly peakBytes: number;
  readonly mappedBytes: number;
  readonly describe: string;
  readonly ops: Record<string, { count: number; ms: number }>;
}

export interface NativeInfo {
  readonly abi: number;
  readonly ops: number;
  readonly compiler: string;
  /** SIMD targets this CPU can run, best first. */
  readonly targets: readonly string[];
  readonly backends: readonly { name: string; available: boolean; reason: string }[];
}

export interface Addon {
  create(
    device: string,
    threads: number,
    deviceIndex: number,
    options: string,
    maxCommands: number,
    maxBytes: number,
    maxCachedBytes: number,
    onLate: (error: NativeError) => void,
  ): Promise<Handle>;
  submit(handle: Handle, words: Uint32Array, count: number): void;
  upload(handle: Handle, slot: number, generation: number, dtype: number, dims: readonly number[], data: ArrayBufferView): void;
  write(handle: Handle, slot: number, generation: number, dtype: number, dims: readonly number[], data: ArrayBufferView): void;
  map(handle: Handle, slot: number, generation: number, dtype: number, dims: readonly number[], path: string, offset: number): void;
  read(handle: Handle, slot: number, generation: number, into: ArrayBufferView): Promise<void>;
  flush(handle: Handle): Promise<void>;
  throttle(handle: Handle): Promise<void>;
  cancel(handle: Handle, group: number): void;
  progress(handle: Handle, into: Float64Array): void;
  stats(handle: Handle): NativeStats;
  close(handle: Handle): Promise<void>;
  info(): NativeInfo;
  peak(threads: number, bytes: number, rounds: number): { flops: number; bytesPerSecond: number; threads: number; target: string };
}
