// The few protocol buffer messages of event files (tensorflow/core/util/event.proto, framework/summary.proto), encoded by hand:
// three wire types, nothing is ever read back.
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

/** Fields in order of writing; absent ones are not written. */
export class Message {
  private readonly parts: Uint8Array[] = [];

  int(field: number, value: number): this {
    this.parts.push(varint(key(field, VARINT)), varint(value));
    return this;
  }

  double(field: number, value: number): this {
    this.parts.push(varint(key(field, FIXED64)), doubles([value]));
    return this;
  }

  float(field: number, value: number): this {
    this.parts.push(varint(key(field, FIXED32)), new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  /** repeated double, packed. */
  doubles(field: number, values: readonly number[]): this {
    return this.bytes(field, doubles(values));
  }

  bytes(field: number, value: Uint8Array): this {
    this.parts.push(varint(key(field, BYTES)), varint(value.length), value);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    return this.bytes(field, value.finish());
  }

  finish(): Uint8Array {
    return Buffer.concat(this.parts);
  }
}

function key(field: number, type: number): number {
  return field * 8 + type;
}

/** Base 128; a negative number takes ten bytes, as int64 does. */
function varint(value: number): Uint8Array {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(Math.trunc(value)));
  for (; rest > 0x7fn; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  out.push(Number(rest));
  return Uint8Array.from(out);
}

function doubles(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(8 * values.length));
  for (const [i, value] of values.entries()) view.setFloat64(8 * i, value, true);
  return new Uint8Array(view.buffer);
}
