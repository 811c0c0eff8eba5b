// An independent reader of TensorBoard event files: framing, checksums by polynomial division, and a general protocol buffer parser.
export interface BoardEvent {
  wallTime: number;
  step: number;
  fileVersion?: string;
  sessionStart?: boolean;
  values: BoardValue[];
}

export interface BoardValue {
  tag: string;
  simple?: number;
  image?: { height: number; width: number; colorspace: number; png: Uint8Array };
  histogram?: { min: number; max: number; num: number; sum: number; sumSquares: number; limits: number[]; buckets: number[] };
  text?: string;
  plugin?: string;
}

type Message = Map<number, (bigint | number | Uint8Array)[]>;

/** Bit by bit, so that it shares nothing with a table. */
export function slowCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = crc & 1n ? (crc >> 1n) ^ 0x82f63b78n : crc >> 1n;
  }
  return Number(crc ^ 0xffffffffn);
}

function masked(bytes: Uint8Array): number {
  const crc = BigInt(slowCrc32c(bytes));
  return Number((((crc >> 15n) | ((crc << 17n) & 0xffffffffn)) + 0xa282ead8n) & 0xffffffffn);
}

function parse(bytes: Uint8Array): Message {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out: Message = new Map();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error('varint beyond the end');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const key = Number(varint());
    const field = key >> 3;
    let value: bigint | number | Uint8Array;
    if ((key & 7) === 0) value = varint();
    else if ((key & 7) === 1) {
      value = view.getFloat64(at, true);
      at += 8;
    } else if ((key & 7) === 5) {
      value = view.getFloat32(at, true);
      at += 4;
    } else if ((key & 7) === 2) {
      const length = Number(varint());
      if (at + length > bytes.length) throw new Error('field beyond the end');
      value = bytes.slice(at, at + length);
      at += length;
    } else throw new Error(`wire type ${key & 7}`);
    out.set(field, [...(out.get(field) ?? []), value]);
  }
  return out;
}

const text = (value: unknown): string => new TextDecoder('utf-8', { fatal: true }).decode(value as Uint8Array);
const sub = (message: Message, field: number): Message | undefined => {
  const bytes = message.get(field)?.[0];
  return bytes instanceof Uint8Array ? parse(bytes) : undefined;
};
const doubles = (bytes: Uint8Array): number[] => [...new Float64Array(bytes.slice().buffer)];

/** Throws on wrong lengths, checksums or encodings; a record that is cut off at the end ends the list. */
export function readEvents(file: Uint8Array): BoardEvent[] {
  const events: BoardEvent[] = [];
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 0; at < file.length; ) {
    if (at + 12 > file.length) break;
    const length = Number(view.getBigUint64(at, true));
    if (view.getUint32(at + 8, true) !== masked(file.subarray(at, at + 8))) throw new Error(`checksum of the length at ${at}`);
    if (at + 16 + length > file.length) break;
    const data = file.subarray(at + 12, at + 12 + length);
    if (view.getUint32(at + 12 + length, true) !== masked(data)) throw new Error(`checksum of the record at ${at}`);
    events.push(eventOf(parse(data)));
    at += 16 + length;
  }
  return events;
}

function eventOf(m: Message): BoardEvent {
  const summary = sub(m, 5);
  return {
    wallTime: m.get(1)?.[0] as number,
    step: Number(BigInt.asIntN(64, (m.get(2)?.[0] as bigint | undefined) ?? 0n)),
    ...(m.has(3) ? { fileVersion: text(m.get(3)![0]) } : {}),
    ...(m.has(7) ? { sessionStart: sub(m, 7)!.get(1)?.[0] === 1n } : {}),
    values: (summary?.get(1) ?? []).map((bytes) => boardValue(parse(bytes as Uint8Array))),
  };
}

function boardValue(m: Message): BoardValue {
  const image = sub(m, 4);
  const histogram = sub(m, 5);
  const tensor = sub(m, 8);
  const plugin = sub(m, 9) && sub(sub(m, 9)!, 1);
  const number = (message: Message, field: number) => Number(message.get(field)?.[0] ?? 0);
  return {
    tag: text(m.get(1)![0]),
    ...(m.has(2) ? { simple: m.get(2)![0] as number } : {}),
    ...(image
      ? {
          image: {
            height: number(image, 1),
            width: number(image, 2),
            colorspace: number(image, 3),
            png: image.get(4)![0] as Uint8Array,
          },
        }
      : {}),
    ...(histogram
      ? {
          histogram: {
            min: number(histogram, 1),
            max: number(histogram, 2),
            num: number(histogram, 3),
            sum: number(histogram, 4),
            sumSquares: number(histogram, 5),
            limits: doubles(histogram.get(6)![0] as Uint8Array),
            buckets: doubles(histogram.get(7)![0] as Uint8Array),
          },
        }
      : {}),
    ...(tensor ? { text: text(tensor.get(8)![0]) } : {}),
    ...(plugin ? { plugin: text(plugin.get(1)![0]) } : {}),
  };
}

/** What a reader of all files of a folder sees: steps from a session's start on replace earlier ones. */
export function visible(files: readonly Uint8Array[], tag: string): [step: number, value: number][] {
  let out: [number, number][] = [];
  for (const event of files.flatMap(readEvents)) {
    if (event.sessionStart) out = out.filter(([step]) => step < event.step);
    for (const value of event.values) if (value.tag === tag && value.simple !== undefined) out.push([event.step, value.simple]);
  }
  return out;
}
