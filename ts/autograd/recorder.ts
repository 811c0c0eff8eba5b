import type { DType } from '../core/dtype.js';
import { ArgumentError } from '../core/errors.js';
import { resolveAttrs } from '../core/shapes.js';
import type { Attrs, AttrValue, OpDecl, Sink } from '../core/types.js';
import type { Engine, Graph, Tensor } from '../engine/index.js';
import { Ops } from '../gen/ops.js';
import { type Entry, OpEntry } from './entry.js';
import type { Call, Floating, Rule } from './rule.js';
import { PACKS, RULES } from './rules/index.js';
import { Value } from './value.js';

/** A packed weight and what it was packed from. */
interface Pack {
  readonly raw: Tensor;
  readonly value: Value | undefined;
}

/** What a recorder needs of its tape. */
export interface Keeper {
  readonly engine: Engine;
  /** Throws where nothing may be recorded any more. */
  check(recording: boolean): void;
  /** A second reference to a tensor, which lives until it is disposed or the tape is closed. */
  keep(tensor: Tensor): Tensor;
}

const INTEGERS: readonly unknown[] = ['i32', 'u8'];

/**
 * Executes ops and records those whose inputs need a gradient. A recorder with a parent knows the values of the parent as well; a dry one
 * only finds out which results need a gradient.
 */
export class Recorder implements Sink<Tensor> {
  readonly ops: Ops<Tensor>;
  readonly entries: Entry[] = [];
  private readonly values = new WeakMap<Tensor, Value>();
  private readonly packs = new WeakMap<Tensor, Pack>();
  private readonly packed: Tensor[] = [];
  // What is saved, under the name by which it could be written.
  private readonly saved = new WeakSet<Tensor>();

  constructor(
    private readonly keeper: Keeper,
    private readonly parent?: Recorder,
    private readonly dry = false,
  ) {
    this.ops = new Ops(this);
  }

  get graph(): Graph {
    const { engine } = this.keeper;
    return {
      ops: this.ops,
      scope: (fn) => engine.scope(fn),
      tensor: (data, shape, dtype) => engine.tensor(data, shape, dtype),
      empty: (shape, dtype) => engine.empty(shape, dtype),
    };
  }

  valueOf(tensor: Tensor): Value | undefined {
    return this.values.get(tensor) ?? this.parent?.valueOf(tensor);
  }

  /** The value of a tensor that was computed here. */
  ownValueOf(tensor: Tensor): Value | undefined {
    return this.values.get(tensor);
  }

  setValue(tensor: Tensor, value: Value): void {
    this.values.set(tensor, value);
  }

  /** Disposes the second references to weights that were packed. */
  dropPacks(): void {
    for (const tensor of this.packed) tensor.dispose();
    this.packed.length = 0;
  }

  run(decl: OpDecl, inputs: readonly (Tensor | undefined)[], given: object): Tensor | undefined {
    this.keeper.check(false);
    const values = inputs.map((t) => (t ? (this.valueOf(t) ?? this.packOf(t)?.value) : undefined));
    this.refuseWrites(decl, inputs, values);
    if (PACKS.has(decl.name)) return this.pack(decl, inputs, given, values[0]);
    if (values.every((value) => value === undefined)) return this.execute(decl, inputs, given);
    this.keeper.check(true);
    const rule = RULES[decl.name];
    if (!rule) {
      if (INTEGERS.includes(decl.outputs[0]?.dtype)) return this.execute(decl, inputs, given);
      throw new ArgumentError(`[${decl.name}] has no gradient, but ${namesOf(decl, values)} needs one`);
    }
    const call = new RecordedCall(this, decl, inputs, values, resolveAttrs(decl, given));
    if (rule.constant?.(call)) return this.execute(decl, inputs, given);
    const parts = rule.compose?.(call);
    if (parts) return this.keeper.engine.scope(() => parts(this.ops));
    return this.record(rule, call, given);
  }

  packOf(tensor: Tensor): Pack | undefined {
    return this.packs.get(tensor) ?? this.parent?.packOf(tensor);
  }

  private execute(decl: OpDecl, inputs: readonly (Tensor | undefined)[], given: object): Tensor | undefined {
    return this.keeper.engine.sink.run(decl, inputs, given);
  }

  private pack(decl: OpDecl, inputs: readonly (Tensor | undefined)[], given: object, value: Value | undefined): Tensor | undefined {
    const transposed = resolveAttrs(decl, given).transpose === true;
    if (transposed && value) throw new ArgumentError(`[${decl.name}] a transposed weight has no gradient on a tape`);
    const out = this.execute(decl, inputs, given);
    if (out && !transposed) {
      const raw = this.dry ? inputs[0]! : this.keeper.keep(inputs[0]!);
      if (!this.dry) this.packed.push(raw);
      this.packs.set(out, { raw, value });
    }
    return out;
  }

  private record(rule: Rule, call: RecordedCall, given: object): Tensor {
    const { decl } = call;
    const names = rule.saves(call);
    const extra = this.fillExtra(rule, call);
    const inputs = decl.inputs.map(({ name }, i) => extra[name] ?? call.inputs[i]);
    const out = rule.execute?.(call) ?? this.execute(decl, inputs, given)!;
    const value = new Value(out.shape, out.dtype);
    this.values.set(out, value);
    if (this.dry) {
      for (const tensor of Object.values(extra)) tensor.dispose();
      return out;
    }
    const saved: Record<string, Tensor> = {};
    for (const name of names) saved[name] = extra[name] ?? this.save(call, name, out);
    this.entries.push(new OpEntry(this.keeper.engine, rule, call.attrs, call.byName, call.shapes, call.dtypes, saved, value));
    return out;
  }

  private fillExtra(rule: Rule, call: RecordedCall): Record<string, Tensor> {
    const extra: Record<string, Tensor> = {};
    for (const [name, shape] of Object.entries(rule.extra?.(call) ?? {})) {
      if (call.has(name)) throw new ArgumentError(`[${call.op}] ${name} is filled by the tape itself`);
      const made = this.keeper.engine.ops.fill({ shape: [...shape] });
      extra[name] = this.dry ? made : this.keeper.keep(made);
      if (!this.dry) made.dispose();
    }
    return extra;
  }

  private save(call: RecordedCall, name: string, out: Tensor): Tensor {
    const tensor = call.has(name) ? call.tensor(name) : out;
    this.saved.add(tensor);
    return this.keeper.keep(this.packOf(tensor)?.raw ?? tensor);
  }

  private isSaved(tensor: Tensor): boolean {
    return this.saved.has(tensor) || (this.parent?.isSaved(tensor) ?? false);
  }

  private refuseWrites(decl: OpDecl, inputs: readonly (Tensor | undefined)[], values: readonly (Value | undefined)[]): void {
    const written = decl.inputs.findIndex(({ mut }, i) => mut && inputs[i]);
    if (written < 0) return;
    for (const [i, { name, mut }] of decl.inputs.entries())
      if (mut && inputs[i] && (values[i] || this.isSaved(inputs[i])))
        throw new ArgumentError(`[${decl.name}] ${name} is recorded on a tape and must not be written in place`);
    if (values.some(Boolean))
      throw new ArgumentError(`[${decl.name}] writes in place, so that the gradient of ${namesOf(decl, values)} would be lost`);
  }
}

function namesOf(decl: OpDecl, values: readonly (Value | undefined)[]): string {
  return decl.inputs.flatMap(({ name }, i) => (values[i] ? name : [])).join(', ');
}

class RecordedCall implements Call {
  readonly op: string;
  readonly engine: Engine;
  readonly byName: Record<string, Value | undefined> = {};
  readonly shapes: Record<string, readonly number[]> = {};
  readonly dtypes: Record<string, DType> = {};
  private readonly given: Record<string, Tensor | undefined> = {};

  constructor(
    private readonly recorder: Recorder,
    readonly decl: OpDecl,
    readonly inputs: readonly (Tensor | undefined)[],
    values: readonly (Value | undefined)[],
    readonly attrs: Attrs,
  ) {
    this.op = decl.name;
    this.engine = (inputs.find((t) => t) as Tensor).engine;
    for (const [i, { name }] of decl.inputs.entries()) {
      const tensor = inputs[i];
      if (!tensor) continue;
      this.given[name] = tensor;
      this.byName[name] = values[i];
      this.shapes[name] = tensor.shape;
      this.dtypes[name] = tensor.dtype;
    }
  }

  has(name: string): boolean {
    return this.given[name] !== undefined;
  }

  needs(name: string): boolean {
    return this.byName[name] !== undefined;
  }

  packed(name: string): boolean {
    const tensor = this.given[name];
    return tensor !== undefined && this.recorder.packOf(tensor) !== undefined;
  }

  tensor(name: string): Tensor {
    return this.given[name]!;
  }

  shape(name: string): readonly number[] {
    return this.shapes[name]!;
  }

  dtype(name: string): Floating {
    return this.dtypes[name] as Floating;
  }

  attr<T extends AttrValue = number>(name: string): T {
    return this.attrs[name] as T;
  }
}
