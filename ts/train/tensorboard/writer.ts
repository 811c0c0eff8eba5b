// TensorBoard event files: TFRecords of Event messages (reference: torch.utils.tensorboard.SummaryWriter, tensorflow/core/util/event.proto).
import { readdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { AppendFile } from '../append-file.js';
import { maskedCrc } from './crc32c.js';
import { histogramOf } from './histogram.js';
import { Message } from './proto.js';

const SESSION_START = 1;
const DT_STRING = 7;
const FLUSH_BYTES = 1 << 20;

export interface EventWriterOptions {
  /** Steps from here on in older files of the folder are void: TensorBoard drops them. Given when a run is resumed. */
  purgeStep?: number;
  /** Seconds since 1970 of an event; for tests. */
  clock?: () => number;
}

/** Appends to a new event file of a folder. Calls only collect bytes; `flush` writes them. */
export class EventWriter {
  private constructor(
    readonly path: string,
    private readonly file: AppendFile,
    private readonly clock: () => number,
  ) {}

  /** Opens `events.out.tfevents.<seconds>.<host>.<pid>.<n>`, a name that sorts behind those of the folder so far. */
  static async open(folder: string, options: EventWriterOptions = {}): Promise<EventWriter> {
    const clock = options.clock ?? (() => Date.now() / 1000);
    const host = hostname().replace(/[^\w-]/g, '_');
    const seconds = await freeSecond(folder, Math.floor(clock()));
    for (let n = 0; ; n++) {
      const path = join(folder, `events.out.tfevents.${seconds}.${host}.${process.pid}.${n}`);
      const file = await AppendFile.open(path, FLUSH_BYTES, { flags: 'ax' }).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'EEXIST') return undefined;
        throw error;
      });
      if (!file) continue;
      const writer = new EventWriter(path, file, clock);
      writer.event(0, (m) => m.text(3, 'brain.Event:2'));
      if (options.purgeStep !== undefined) writer.purge(options.purgeStep);
      return writer;
    }
  }

  scalar(tag: string, value: number, step: number): void {
    this.summary(step, new Message().text(1, tag).float(2, value));
  }

  histogram(tag: string, values: ArrayLike<number>, step: number): void {
    const h = histogramOf(values);
    const proto = new Message().double(1, h.min).double(2, h.max).double(3, h.num).double(4, h.sum).double(5, h.sumSquares);
    this.summary(step, new Message().text(1, tag).message(5, proto.doubles(6, h.limits).doubles(7, h.counts)));
  }

  /** `png`: the encoded RGB file. */
  image(tag: string, width: number, height: number, png: Uint8Array, step: number): void {
    const image = new Message().int(1, height).int(2, width).int(3, 3).bytes(4, png);
    this.summary(step, new Message().text(1, tag).message(4, image));
  }

  text(tag: string, text: string, step: number): void {
    const plugin = new Message().message(1, new Message().text(1, 'text').bytes(2, new Uint8Array(0)));
    const shape = new Message().message(2, new Message().int(1, 1));
    const tensor = new Message().int(1, DT_STRING).message(2, shape).text(8, text);
    this.summary(step, new Message().text(1, `${tag}/text_summary`).message(8, tensor).message(9, plugin));
  }

  /** Voids what was written for this step and later ones; the run goes back there. */
  purge(step: number): void {
    this.event(step, (m) => m.message(7, new Message().int(1, SESSION_START)));
  }

  /** Everything written so far is with the system when this resolves. Rejects with the system's error; the next call tries again. */
  async flush(): Promise<void> {
    await this.file.flush();
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private summary(step: number, value: Message): void {
    this.event(step, (m) => m.message(5, new Message().message(1, value)));
  }

  private event(step: number, fill: (message: Message) => void): void {
    const message = new Message().double(1, this.clock()).int(2, step);
    fill(message);
    this.file.append(frame(message.finish()));
  }
}

/** A second behind those of all event files in the folder: TensorBoard reads them in the order of their names. */
async function freeSecond(folder: string, now: number): Promise<string> {
  const taken = (await readdir(folder)).map((name) => Number(/^events\.out\.tfevents\.(\d+)\./.exec(name)?.[1] ?? 0));
  return String(Math.max(now, ...taken.map((second) => second + 1))).padStart(10, '0');
}

/** Length, its checksum, data, its checksum. */
function frame(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, maskedCrc(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, maskedCrc(data), true);
  return out;
}
