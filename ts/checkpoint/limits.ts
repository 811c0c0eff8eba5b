/** Limits of the checkpoint parsers; a file beyond one of them is refused with a CheckpointError. docs/guide/checkpoints.md lists them. */
export const LIMITS = {
  /** JSON header of a safetensors file, bytes. */
  safetensorsHeader: 32 * 2 ** 20,
  /** One pickle, bytes (compressed or not). */
  pickleBytes: 32 * 2 ** 20,
  /** Opcodes of one pickle. */
  pickleOps: 4_000_000,
  /** Bytes of one pickled integer. */
  integerBytes: 1024,
  /** Depth of nested containers that are searched for tensors. */
  depth: 64,
  /** Values visited while searching for tensors; a value that is referred to twice counts twice. */
  nodes: 2_000_000,
  /** Dimensions of one tensor. */
  rank: 64,
  /** Bytes of a view whose elements overlap (expanded tensors), once written out. */
  expandedBytes: 64 * 2 ** 20,
  /** Records of a zip archive. */
  zipEntries: 1_000_000,
  /** Bytes of the zip directory. */
  zipDirectory: 128 * 2 ** 20,
  /** Unpacked bytes of one compressed record. */
  inflatedBytes: 64 * 2 ** 20,
} as const;
