import { type DType, dtypeCode } from '../core/dtype.js';
import type { Attrs, AttrValue, OpDecl, OutputSpec, TensorRef } from '../core/types.js';

const DISPOSE = 1;
const END_GROUP = 2;
const VIEW = 3;
const EMPTY = 8;
/** Commands that take the id of a capture. */
export const CAPTURE = { begin: 4, end: 5, replay: 6, drop: 7 } as const;
const HEADER = 4;
const MAX_DISPOSE = 64;
const MAX_WORDS = 1 << 14;

/** Writes commands in the format of native/core/command.h. */
export class Encoder {
  words = new Uint32Array(MAX_WORDS + 1024);
  #floats = new Float32Array(this.words.buffer);
  #ints = new Int32Array(this.words.buffer);
  /** Words written. */
  length = 0;
  /** Commands written. */
  commands = 0;
  // The dispose command that is last in the buffer and may still grow.
  #dispose = -1;

  get full(): boolean {
    return this.length >= MAX_WORDS;
  }

  clear(): void {
    this.length = 0;
    this.commands = 0;
    this.#dispose = -1;
  }

  op(
    decl: OpDecl,
    inputs: readonly (TensorRef | undefined)[],
    outputs: readonly { slot: number; generation: number }[],
    specs: readonly OutputSpec[],
    attrs: Attrs,
    group: number,
  ): void {
    const { words } = this;
    const start = this.length;
    let at = start + HEADER;
    for (const t of inputs) {
      words[at++] = t ? t.slot : 0;
      words[at++] = t ? t.generation : 0;
    }
    for (let i = 0; i < specs.length; i++) {
      const { dtype, shape } = specs[i] as OutputSpec;
      const o = outputs[i] as { slot: number; generation: number };
      words[at++] = o.slot;
      words[at++] = o.generation;
      words[at++] = dtypeCode(dtype) | (shape.length << 8);
      for (const d of shape) words[at++] = d;
    }
    for (const a of decl.attrs) {
      const value = attrs[a.name] as AttrValue;
      if (a.type === 'dims') at = this.#dims(at, value as readonly number[]);
      else if (a.type === 'f32') this.#floats[at++] = value as number;
      else if (a.type === 'enum') this.#ints[at++] = a.values.indexOf(value as string);
      else if (a.type === 'dtype') this.#ints[at++] = dtypeCode(value as DType);
      else this.#ints[at++] = Number(value);
    }
    words[start] = at - start;
    words[start + 1] = decl.id;
    words[start + 2] = group;
    words[start + 3] = inputs.length | (specs.length << 8) | (decl.words << 16);
    this.#end(at);
  }

  /** `out` shares the memory of `base` from `offset` bytes on. */
  view(base: TensorRef, offset: number, out: { slot: number; generation: number }, spec: OutputSpec, group: number): void {
    const { dtype, shape } = spec;
    const { words, length: start } = this;
    words.set([0, VIEW, group, 1 | (1 << 8) | (2 << 16)], start);
    words.set([base.slot, base.generation, out.slot, out.generation, dtypeCode(dtype) | (shape.length << 8)], start + HEADER);
    words.set(shape, start + HEADER + 5);
    const at = start + HEADER + 5 + shape.length;
    words[at] = offset % 2 ** 32;
    words[at + 1] = Math.floor(offset / 2 ** 32);
    words[start] = at + 2 - start;
    this.#end(at + 2);
  }

  /** A tensor that nothing is written to. */
  empty(out: { slot: number; generation: number }, spec: OutputSpec, group: number): void {
    const { dtype, shape } = spec;
    const { words, length: start } = this;
    const end = start + HEADER + 3 + shape.length;
    words.set([end - start, EMPTY, group, 1 << 8, out.slot, out.generation, dtypeCode(dtype) | (shape.length << 8)], start);
    words.set(shape, start + HEADER + 3);
    this.#end(end);
  }

  dispose(slot: number, generation: number): void {
    const { words } = this;
    let start = this.#dispose;
    if (start < 0 || (words[start + 3] as number) >= MAX_DISPOSE) {
      start = this.length;
      words[start] = HEADER;
      words[start + 1] = DISPOSE;
      words[start + 2] = 0;
      words[start + 3] = 0;
      this.#end(start + HEADER);
    }
    words[this.length++] = slot;
    words[this.length++] = generation;
    words[start] = (words[start] as number) + 2;
    words[start + 3] = (words[start + 3] as number) + 1;
    this.#dispose = start;
  }

  endGroup(group: number): void {
    this.words.set([HEADER, END_GROUP, group, 0], this.length);
    this.#end(this.length + HEADER);
  }

  capture(command: number, id: number, group: number): void {
    this.words.set([HEADER + 1, command, group, 1 << 16, id], this.length);
    this.#end(this.length + HEADER + 1);
  }

  #dims(at: number, dims: readonly number[]): number {
    this.#ints[at] = dims.length;
    for (let i = 0; i < 6; i++) this.#ints[at + 1 + i] = dims[i] ?? 0;
    return at + 7;
  }

  #end(at: number): void {
    this.length = at;
    this.commands++;
    this.#dispose = -1;
  }
}
