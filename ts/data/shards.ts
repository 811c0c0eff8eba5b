// WebDataset shards: tar archives, plain or gzip, whose members with one base name are one sample. Nothing is unpacked to disk.
//
// Plain shards cost one pass over their headers when opened and one read per image. A gzip stream can only be read from its front: it is
// decompressed once when opened and again when an image of it is wanted; shards decompressed last are kept, up to `gzipCacheBytes`. A
// set of gzip shards above that bound, read in random order, decompresses a shard per image: JPEG gains nothing by gzip, use plain tar.
import { createReadStream } from 'node:fs';
import { basename, dirname } from 'node:path';
import { createGunzip } from 'node:zlib';
import { throwIfAborted } from '../core/check.js';
import { DatasetError, ImageError } from '../core/errors.js';
import { type ImageDataset, ignoredReason, isImageName, readPart } from './dataset.js';
import { type RawLabel, readClasses, resolveLabels } from './labels.js';
import { labelOf } from './list.js';
import { FileTarReader, StreamTarReader, type TarEntry, type TarMember, tarEntries } from './tar.js';

export const SHARD_FILE = /\.(tar|tar\.gz|tgz)$/i;
const isGzip = (file: string): boolean => /\.(gz|tgz)$/i.test(file);
const LABEL_FILES = ['cls', 'json', 'txt'] as const;
const MAX_LABEL_BYTES = 1 << 20;
const MAX_LABEL_TEXT = 200;
const CHUNK = 1 << 18;

export interface ShardOptions {
  classes?: readonly string[];
  /** Bytes of decompressed gzip shards that are kept; default 256 MiB. */
  gzipCacheBytes?: number;
  signal?: AbortSignal;
}

interface Group {
  image?: TarMember;
  labels: Partial<Record<(typeof LABEL_FILES)[number], string>>;
}

interface Shard {
  readonly file: string;
  /** Decompressed bytes up to the end of the last member. */
  readonly size: number;
}

interface Located {
  readonly shard: number;
  readonly member: TarMember;
}

/** Replaces `{000..127}` and `{a,b}`, from left to right. */
export function expandBraces(pattern: string): string[] {
  const match = /\{([^{}]*)\}/.exec(pattern);
  if (!match) return [pattern];
  const range = /^(\d+)\.\.(\d+)$/.exec(match[1]!);
  const parts = range ? counted(range[1]!, range[2]!) : match[1]!.split(',');
  return parts.flatMap((part) => expandBraces(pattern.slice(0, match.index) + part + pattern.slice(match.index + match[0].length)));
}

function counted(from: string, to: string): string[] {
  const [a, b] = [Number(from), Number(to)];
  if (Math.abs(b - a) >= 1e6) throw new DatasetError(`{${from}..${to}}: more than a million shards`, { file: `{${from}..${to}}` });
  const step = a <= b ? 1 : -1;
  return Array.from({ length: Math.abs(b - a) + 1 }, (_, i) => String(a + step * i).padStart(from.length, '0'));
}

/** The name up to the first dot of its last part is the sample, the rest says what the member is. */
function keyOf(name: string): { key: string; kind: string } {
  const dot = name.indexOf('.', name.lastIndexOf('/') + 1);
  return dot < 0 ? { key: name, kind: '' } : { key: name.slice(0, dot), kind: name.slice(dot + 1).toLowerCase() };
}

class ShardIndexer {
  readonly groups = new Map<string, Group>();
  end = 0;

  constructor(
    private readonly file: string,
    private readonly ignored: Map<string, string>,
  ) {}

  async add(entry: TarEntry): Promise<void> {
    const { name, kind, offset, size } = entry;
    this.end = offset + size;
    const where = `${this.file}/${name}`;
    if (kind === 'folder') return;
    if (kind !== 'file') return void this.ignored.set(where, `is ${kind}`);
    const { key, kind: extension } = keyOf(name);
    if (key.split('/').at(-1) === '') return;
    const group = this.groups.get(key) ?? { labels: {} };
    this.groups.set(key, group);
    const label = LABEL_FILES.find((l) => l === extension);
    if (label !== undefined && group.labels[label] === undefined && size <= MAX_LABEL_BYTES)
      group.labels[label] = new TextDecoder().decode(await entry.content());
    else if (isImageName(name) && !group.image) group.image = { name, offset, size };
    else this.ignored.set(where, isImageName(name) ? 'a second image of the same sample' : ignoredReason(name));
  }
}

/** The label a sample carries: cls (name or number), a field of json, or a short txt; the folder inside the archive where there is none. */
function sampleLabel({ labels, image }: Group, file: string): string | number | undefined {
  const at = `${file}/${image!.name}`;
  const fail = (why: string) => new DatasetError(`${at}: ${why}`, { file });
  if (labels.cls !== undefined) return labels.cls.trim() || undefined;
  if (labels.json !== undefined) {
    let value: unknown;
    try {
      value = JSON.parse(labels.json);
    } catch (error) {
      throw fail(`its json is not valid (${(error as Error).message})`);
    }
    const label =
      typeof value === 'object' && value !== null && !Array.isArray(value) ? labelOf(value as Record<string, unknown>, fail) : undefined;
    if (label !== undefined) return label;
  }
  const text = labels.txt?.trim();
  if (text !== undefined && text !== '') {
    if (text.length > MAX_LABEL_TEXT || text.includes('\n'))
      throw fail('its txt is a text, not a class; use cls, or json with a field label');
    return text;
  }
  const folder = basename(dirname(image!.name));
  return folder === '.' || folder === '' ? undefined : folder;
}

async function indexShard(file: string, ignored: Map<string, string>, signal?: AbortSignal): Promise<ShardIndexer> {
  const indexer = new ShardIndexer(file, ignored);
  const reader = isGzip(file)
    ? new StreamTarReader(gunzip(file))
    : await FileTarReader.open(file).catch((error: unknown) => Promise.reject(unreadable(file, error)));
  try {
    for await (const entry of tarEntries(reader, file)) {
      throwIfAborted(signal);
      await indexer.add(entry);
    }
    if (reader instanceof StreamTarReader) await reader.drain();
    return indexer;
  } finally {
    await reader.close();
  }
}

/** Decompressed chunks of a file; errors of the stream name it. */
async function* gunzip(file: string): AsyncGenerator<Uint8Array> {
  const source = createReadStream(file, { highWaterMark: CHUNK });
  const stream = createGunzip({ chunkSize: CHUNK });
  source.on('error', (error) => stream.destroy(error));
  source.pipe(stream);
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
  } catch (error) {
    throw unreadable(file, error);
  } finally {
    source.destroy();
    stream.destroy();
  }
}

function unreadable(file: string, error: unknown): DatasetError {
  const { code, message } = error as NodeJS.ErrnoException;
  const why =
    code === 'ENOENT'
      ? 'no such file'
      : code === 'Z_BUF_ERROR'
        ? 'the gzip stream is cut off'
        : code?.startsWith('Z_')
          ? `damaged gzip (${message})`
          : message;
  return new DatasetError(`${file}: ${why}`, { file, cause: error });
}

/** Opens archives in the given order; within one, samples keep the order of their images. */
export async function openShards(files: readonly string[], path: string, options: ShardOptions = {}): Promise<ShardDataset> {
  const ignored = new Map<string, string>();
  const shards: Shard[] = [];
  const places: Located[] = [];
  const raw: RawLabel[] = [];
  for (const [shard, file] of files.entries()) {
    throwIfAborted(options.signal);
    const { groups, end } = await indexShard(file, ignored, options.signal);
    shards.push({ file, size: end });
    for (const [key, group] of groups) {
      if (!group.image) {
        ignored.set(`${file}/${key}`, 'a sample without an image');
        continue;
      }
      places.push({ shard, member: group.image });
      raw.push({ value: sampleLabel(group, file), at: `${file}/${group.image.name}` });
    }
  }
  if (places.length === 0) throw new DatasetError(`${path}: there is no image in ${files.length} archives`, { file: path });
  const classes = options.classes ?? (await readClasses(dirname(files[0]!)));
  const labelled = resolveLabels(raw, path, classes);
  return new ShardDataset(path, shards, places, labelled.classes, labelled.labels, ignored, options.gzipCacheBytes ?? 2 ** 28);
}

export class ShardDataset implements ImageDataset {
  readonly layout = 'shards';
  readonly length: number;
  readonly numClasses: number;
  /** Decompressed gzip shards, the one used last at the end. */
  private readonly kept = new Map<number, Promise<Uint8Array>>();

  constructor(
    readonly path: string,
    private readonly shards: readonly Shard[],
    private readonly places: readonly Located[],
    readonly classes: readonly string[],
    readonly labels: Int32Array,
    readonly ignored: ReadonlyMap<string, string>,
    private readonly gzipCacheBytes: number,
  ) {
    this.length = places.length;
    this.numClasses = classes.length;
  }

  name(index: number): string {
    const { shard, member } = this.places[index]!;
    return `${this.shards[shard]!.file}/${member.name}`;
  }

  async read(index: number): Promise<Uint8Array> {
    const { shard, member } = this.places[index]!;
    const { file, size } = this.shards[shard]!;
    if (!isGzip(file)) return await readPart(file, this.name(index), member.offset, member.size);
    if (size > this.gzipCacheBytes) return await this.pick(file, member, this.name(index));
    const bytes = (await this.decompressed(shard)).subarray(member.offset, member.offset + member.size);
    if (bytes.length < member.size) throw new ImageError(`${this.name(index)}: the archive has changed`, { file: this.name(index) });
    return bytes;
  }

  async close(): Promise<void> {
    this.kept.clear();
  }

  private decompressed(shard: number): Promise<Uint8Array> {
    let bytes = this.kept.get(shard);
    this.kept.delete(shard);
    bytes ??= this.inflate(shard).catch((error: unknown) => {
      this.kept.delete(shard);
      throw error;
    });
    this.kept.set(shard, bytes);
    let total = 0;
    for (const key of [...this.kept.keys()].reverse()) {
      total += this.shards[key]!.size;
      if (total > this.gzipCacheBytes && key !== shard) this.kept.delete(key);
    }
    return bytes;
  }

  private async inflate(shard: number): Promise<Uint8Array> {
    const { file, size } = this.shards[shard]!;
    const out = new Uint8Array(size);
    let at = 0;
    for await (const chunk of gunzip(file)) {
      out.set(chunk.subarray(0, size - at), at);
      at = Math.min(size, at + chunk.length);
    }
    return out.subarray(0, at);
  }

  private async pick(file: string, member: TarMember, name: string): Promise<Uint8Array> {
    const reader = new StreamTarReader(gunzip(file));
    try {
      await reader.skip(member.offset);
      const bytes = await reader.read(member.size);
      if (bytes.length < member.size) throw new ImageError(`${name}: the archive has changed`, { file: name });
      return bytes;
    } finally {
      await reader.close();
    }
  }
}
