import type { DType } from './dtype.js';

/** What an op needs to know about a tensor. */
export interface TensorRef {
  readonly slot: number;
  readonly generation: number;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export type AttrValue = number | boolean | string | readonly number[];
export type Attrs = Readonly<Record<string, AttrValue>>;
export type Dims = Record<string, number>;

/** One dim of a shape pattern: '...' (any leading dims), '*' (any dims), a bound letter, or a value to be computed. */
export type DimPattern =
  | '...'
  | '*'
  | { readonly letter: string }
  | { readonly text: string; readonly value: (d: Dims, a: NumericAttrs) => number };
export type NumericAttrs = Readonly<Record<string, number>>;
export type ShapePattern = readonly DimPattern[];

export interface InputDecl {
  readonly name: string;
  readonly shape: ShapePattern;
  /** Accepted dtypes; an input name prefixed by '=' repeats that input's dtype. */
  readonly dtypes: readonly DType[] | `=${string}`;
  readonly optional: boolean;
  readonly mut: boolean;
}

export type AttrDecl =
  | { readonly name: string; readonly type: 'f32' | 'i32' | 'bool' | 'dims' | 'dtype'; readonly default?: AttrValue }
  | { readonly name: string; readonly type: 'enum'; readonly values: readonly string[]; readonly default?: string };

/** What a hand-written rule sees. */
export interface RuleContext {
  readonly op: string;
  readonly in: Readonly<Record<string, TensorRef | undefined>>;
  readonly a: Attrs;
  readonly d: Readonly<Dims>;
}

export interface OutputDecl {
  readonly name: string;
  readonly shape: ShapePattern | ((c: RuleContext) => readonly number[]);
  /** A dtype, '=input', '@attribute' or a rule. */
  readonly dtype: DType | `=${string}` | `@${string}` | ((c: RuleContext) => DType);
}

export interface OpDecl {
  readonly name: string;
  readonly id: number;
  readonly inputs: readonly InputDecl[];
  readonly attrs: readonly AttrDecl[];
  readonly outputs: readonly OutputDecl[];
  readonly check?: (c: RuleContext) => void;
  /** Length of the parameters in 32-bit words. */
  readonly words: number;
}

export interface OutputSpec {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Takes op calls: the engine executes them, others may record or rewrite them first. */
export interface Sink<T extends TensorRef> {
  run(op: OpDecl, inputs: readonly (T | undefined)[], attrs: object): T | undefined;
}
