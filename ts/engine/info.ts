/** Memory of one engine, in bytes. */
export interface MemoryInfo {
  /** Held by tensors and captures. */
  readonly liveBytes: number;
  /** Taken from the device: live, cached, and what tensors leave unused of larger blocks. */
  readonly poolBytes: number;
  /** Highest poolBytes so far. */
  readonly peakBytes: number;
  /** Mapped files, whose pages the operating system may drop. */
  readonly mappedBytes: number;
  /** Tensors not disposed. */
  readonly tensors: number;
}

export interface EngineStats {
  /** Commands executed. */
  readonly commands: number;
  readonly inFlightCommands: number;
  readonly inFlightBytes: number;
  /** Commands that failed late. */
  readonly failed: number;
  /** Replays of captures: as one graph, and call by call, which is all that 'cpu' does and what is left where a device refuses to record one. */
  readonly replays: { readonly graph: number; readonly calls: number };
  /** Calls and time per op. */
  readonly ops: Readonly<Record<string, { readonly count: number; readonly ms: number }>>;
}

export interface DeviceInfo {
  readonly name: string;
  readonly threads: number;
  /** SIMD targets the CPU can run, best first. */
  readonly targets?: readonly string[];
  readonly [key: string]: unknown;
}
