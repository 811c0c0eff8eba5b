// A checkpoint file as a flat list of named tensors. Tensors stay in the file until asked for and are mapped where possible.
import { checkOptions, checkString } from '../core/check.js';
import type { DType } from '../core/dtype.js';
import { CheckpointError } from '../core/errors.js';
import type { Engine, Tensor } from '../engine/index.js';
import { type FileDType, fileDType } from './dtype.js';
import { fail, type Where } from './fail.js';
import { SourceFile } from './file.js';
import { type Flat, flatten } from './flatten.js';
import { readBytes, readBytesSync, toEngineArray } from './gather.js';
import { chooseRoot, knownRoots, tensorsAt, unwrap } from './layout.js';
import { toPlain } from './plain.js';
import { looksLikePickle, readPthLegacy } from './pth-legacy.js';
import { readPthZip } from './pth-zip.js';
import { looksLikeSafetensors, readSafetensors } from './safetensors.js';
import type { ByteSource } from './source.js';
import type { FileTensor, PyValue } from './value.js';

export type CheckpointFormat = 'safetensors' | 'pth' | 'pth-legacy';

export interface OpenOptions {
  /**
   * Where the state dict lies, names joined with dots ('trainer.vae_local'). A string must exist; of a list the first that exists is
   * taken. By default the usual places are tried (trainer.var_wo_ddp, state_dict, model, ...). '' shows the whole file as it stands.
   */
  root?: string | readonly string[];
}

export interface TensorInfo {
  dtype: FileDType;
  shape: readonly number[];
}

export interface TensorLocation {
  /** Bytes from the start of the file to the first element, or to the compressed record. */
  offset: number;
  byteLength: number;
  contiguous: boolean;
  deflated?: number;
}

/** What all views of one opened file share. */
interface Content {
  file: SourceFile;
  format: CheckpointFormat;
  flat: Flat;
  metadata: Readonly<Record<string, string>>;
  structure: PyValue;
  closed: boolean;
}

const MAPPED: ReadonlySet<FileDType> = new Set<FileDType>(['f32', 'f16', 'bf16', 'i32', 'u8']);

export class Checkpoint {
  /** @internal */
  constructor(
    private readonly content: Content,
    /** Where in the file the names begin. */
    readonly root: string,
    private readonly tensors: ReadonlyMap<string, FileTensor>,
  ) {}

  get path(): string {
    return this.content.file.path;
  }

  get format(): CheckpointFormat {
    return this.content.format;
  }

  /** Bytes of the file. */
  get fileSize(): number {
    return this.content.file.size;
  }

  /** Known places of state dicts that the file holds, to be given to `at`. */
  get roots(): string[] {
    return knownRoots(this.content.flat);
  }

  /** `__metadata__` of a safetensors file; empty for .pth. */
  get metadata(): Readonly<Record<string, string>> {
    return this.content.metadata;
  }

  /** The whole object of a .pth file as data (value.ts); for safetensors a Map of its tensors. */
  get structure(): PyValue {
    return this.content.structure;
  }

  /** The object of a .pth file as plain values: Map and OrderedDict become objects without prototype, tuples arrays, tensors their name and info. */
  plain(): unknown {
    return toPlain(this.content.structure, this.path);
  }

  keys(): string[] {
    return [...this.tensors.keys()];
  }

  has(key: string): boolean {
    return this.tensors.has(key);
  }

  /** dtype and shape of one tensor. Throws CheckpointError for an unknown key. */
  info(key: string): TensorInfo {
    const { dtype, shape } = this.tensor(key);
    return { dtype, shape };
  }

  /** Where a tensor lies in the file. `deflated`: bytes it takes there when its record is compressed. */
  location(key: string): TensorLocation {
    const { storage, byteOffset, contiguous, size, dtype } = this.tensor(key);
    const { offset, deflated } = storage.region!;
    return {
      offset: offset + (deflated === undefined ? byteOffset : 0),
      byteLength: size * fileDType(dtype).size,
      contiguous,
      ...(deflated === undefined ? {} : { deflated }),
    };
  }

  /** The tensors below a prefix ('encoder' for 'encoder.conv_in.weight'), names without it. */
  sub(prefix: string): Checkpoint {
    const start = `${prefix}.`;
    const part = new Map<string, FileTensor>();
    for (const [name, tensor] of this.tensors) if (name.startsWith(start)) part.set(name.slice(start.length), tensor);
    return new Checkpoint(this.content, this.root === '' ? prefix : `${this.root}.${prefix}`, part);
  }

  /** The same file seen from another root. */
  at(root: string): Checkpoint {
    const { flat, file } = this.content;
    const chosen = chooseRoot(flat, root, file.path);
    return new Checkpoint(this.content, chosen, tensorsAt(flat, chosen, file.path));
  }

  /**
   * Puts a tensor on the engine: mapped from the file where it is contiguous and f32, f16, bf16, i32 or u8, else converted
   * (i64, i16, i8, unsigned: i32, checked for range; f64: f32; bool: u8). `dtype` asks for a conversion on the engine.
   */
  load(engine: Engine, key: string, options: { dtype?: DType } = {}): Tensor {
    const t = this.tensor(key);
    const where = this.where(key);
    this.checkOpen();
    if (t.size === 0) fail(where, `shape [${t.shape}] has no elements; the engine holds none of those`);
    if (fileDType(t.dtype).engine === undefined) fail(where, `${t.dtype} tensors cannot be loaded, only their bytes read`);
    const tensor = this.place(engine, t, where);
    const { dtype = tensor.dtype } = options;
    if (dtype === tensor.dtype) return tensor;
    const cast = engine.ops.cast(tensor, { dtype });
    tensor.dispose();
    return cast;
  }

  /** Row-major little-endian bytes of a tensor. */
  async bytes(key: string): Promise<Uint8Array> {
    const t = this.tensor(key);
    this.checkOpen();
    return await readBytes(this.content.file, t);
  }

  /** A tensor as a source for writeSafetensors and writePth. */
  source(key: string): ByteSource {
    return { ...this.info(key), data: () => this.bytes(key) };
  }

  /** Further reads are errors; nothing else is held. */
  close(): void {
    this.content.closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  private where(key: string): Where {
    return { file: this.path, key };
  }

  private checkOpen(): void {
    if (this.content.closed) fail({ file: this.path }, 'the checkpoint is closed');
  }

  private tensor(key: string): FileTensor {
    const found = this.tensors.get(key);
    if (found) return found;
    const roots = this.roots.filter((root) => root !== this.root);
    const hint = roots.length > 0 ? `; the file also holds ${roots.join(', ')}` : '';
    return fail(this.where(key), `no such tensor among the ${this.tensors.size} of ${this.root === '' ? 'the file' : this.root}${hint}`);
  }

  private place(engine: Engine, t: FileTensor, where: Where): Tensor {
    const { file } = this.content;
    const region = t.storage.region!;
    if (MAPPED.has(t.dtype) && t.contiguous && region.deflated === undefined) {
      file.verify();
      return engine.fromFile(file.path, region.offset + t.byteOffset, t.shape, t.dtype as DType);
    }
    const { data, dtype } = toEngineArray(readBytesSync(file, t), t.dtype, where);
    return engine.tensor(data, t.shape, dtype);
  }
}

/**
 * Opens a safetensors or PyTorch file (.pth, .pt, .ckpt, .bin); the format is told by content. Reads the directory only.
 * Throws CheckpointError naming file, key or offset for anything broken, truncated, unknown or hostile; nothing in it is executed.
 */
export async function openCheckpoint(path: string, options: OpenOptions = {}): Promise<Checkpoint> {
  checkOptions('openCheckpoint', options, ['root']);
  const file = await SourceFile.open(checkString('openCheckpoint: path', path));
  try {
    const content = await readContent(file);
    const root = chooseRoot(content.flat, options.root, path);
    const tensors = root === '' && options.root !== '' ? unwrap(content.flat.tensors, path) : tensorsAt(content.flat, root, path);
    return new Checkpoint(content, root, tensors);
  } catch (error) {
    // A parser error that is no CheckpointError would be a bug, but must not look like one of the caller's.
    if (error instanceof CheckpointError) throw error;
    throw new CheckpointError(`${path}: ${error instanceof Error ? error.message : String(error)}`, { file: path, cause: error });
  } finally {
    await file.done();
  }
}

async function readContent(file: SourceFile): Promise<Content> {
  const head = await file.read(0, Math.min(file.size, 512));
  const isZip = head[0] === 0x50 && head[1] === 0x4b;
  const common = { file, closed: false };
  if (!isZip && (looksLikeSafetensors(head) || file.path.endsWith('.safetensors'))) {
    const { tensors, metadata } = await readSafetensors(file);
    const record = Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(metadata));
    return { ...common, format: 'safetensors', flat: { tensors, direct: true }, metadata: Object.freeze(record), structure: tensors };
  }
  const format = isZip ? 'pth' : looksLikePickle(head) ? 'pth-legacy' : undefined;
  if (!format) return fail({ file: file.path }, notACheckpoint(head, file.size));
  const structure = format === 'pth' ? await readPthZip(file) : await readPthLegacy(file);
  const metadata = Object.freeze(Object.create(null) as Record<string, string>);
  return { ...common, format, flat: flatten(structure, file.path), metadata, structure };
}

function notACheckpoint(head: Uint8Array, size: number): string {
  if (size === 0) return 'the file is empty';
  const text = new TextDecoder('latin1').decode(head);
  if (text.startsWith('version https://git-lfs')) return 'a Git LFS pointer, not the file itself: fetch it with `git lfs pull`';
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) return 'a web page, not a checkpoint: the download went wrong';
  if (text.includes('ustar', 250)) return 'a tar archive (torch before 0.2); save it again with a newer torch';
  return 'neither a safetensors file nor a file of torch.save';
}
