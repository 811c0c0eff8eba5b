// TypeScript side of the op declarations: class Ops with one typed method per op, and the tables behind it.
const camel = (s) => s.replace(/_([a-z0-9])/g, (_, c) => c.toUpperCase());
const quote = (s) => `'${s}'`;
const DTYPES = ['f32', 'f16', 'bf16', 'i32', 'u8'];
const isLetter = (s) => /^[A-Za-z]\w*$/.test(s);

function dimPattern(text) {
  if (text === '...' || text === '*') return quote(text);
  if (isLetter(text)) return `{ letter: ${quote(text)} }`;
  const names = new Set();
  const code = text.replace(/\b(a\.)?([A-Za-z]\w*)(\()?/g, (_all, attr, name, call) => {
    if (call) return `Math.${name}(`;
    names.add(attr ? 'a' : 'd');
    return attr ? `a.${name}!` : `d.${name}!`;
  });
  const params = names.has('a') ? `(${names.has('d') ? 'd' : '_d'}, a)` : names.has('d') ? '(d)' : '()';
  return `{ text: ${quote(text)}, value: ${params} => ${code.replace(/([*+\-/])/g, ' $1 ')} }`;
}

const pattern = (shape) => `[${shape.split(' ').map(dimPattern).join(', ')}]`;

function dtypes(spec) {
  if (spec.startsWith('=')) return quote(spec);
  return `[${(spec === 'any' ? DTYPES : spec.split('|')).map(quote).join(', ')}]`;
}

function defaultOf(a) {
  if (a.default === undefined) return '';
  if (a.default === '-inf') return ', default: Number.NEGATIVE_INFINITY';
  if (a.default === 'inf') return ', default: Number.POSITIVE_INFINITY';
  return `, default: ${typeof a.default === 'string' ? quote(a.default) : JSON.stringify(a.default)}`;
}

function attr(a) {
  const values = a.type === 'enum' ? `, values: [${a.values.map(quote).join(', ')}]` : '';
  return `{ name: ${quote(a.name)}, type: ${quote(a.type)}${values}${defaultOf(a)} }`;
}

function table(op, id) {
  const words = op.attrs.reduce((n, a) => n + (a.type === 'dims' ? 7 : 1), 0);
  const inputs = op.in.map(
    (t) =>
      `      { name: ${quote(t.name)}, shape: ${pattern(t.shape)}, dtypes: ${dtypes(t.dtype)}, optional: ${!!t.optional}, mut: ${!!t.mut} },`,
  );
  const outputs = op.out.map((o) => {
    const dtype = o.dtypeRule ? `rules.${o.dtypeRule}` : quote(o.dtype);
    return `      { name: ${quote(o.name)}, shape: ${o.rule ? `rules.${o.rule}` : pattern(o.shape)}, dtype: ${dtype} },`;
  });
  const list = (name, rows) => (rows.length ? [`    ${name}: [`, ...rows, '    ],'] : [`    ${name}: [],`]);
  return [
    `  ${camel(op.name)}: {`,
    `    name: ${quote(op.name)},`,
    `    id: ${id},`,
    ...list('inputs', inputs),
    ...list(
      'attrs',
      op.attrs.map((a) => `      ${attr(a)},`),
    ),
    ...list('outputs', outputs),
    ...(op.check ? [`    check: rules.${op.check},`] : []),
    `    words: ${words},`,
    '  },',
  ].join('\n');
}

const tsType = (a) =>
  a.type === 'enum'
    ? a.values.map(quote).join(' | ')
    : { f32: 'number', i32: 'number', bool: 'boolean', dims: 'readonly number[]', dtype: 'DType' }[a.type];

function method(op) {
  const required = op.in.filter((t) => !t.optional);
  const optional = op.in.filter((t) => t.optional);
  const fields = [
    ...op.attrs.map((a) => `${a.name}${a.default === undefined ? '' : '?'}: ${tsType(a)}`),
    ...optional.map((t) => `${t.name}?: T | undefined`),
  ];
  const must = op.attrs.some((a) => a.default === undefined);
  const args = required.map((t) => `${t.name}: T`);
  if (fields.length) args.push(`options: { ${fields.join('; ')} }${must ? '' : ' = {}'}`);
  const inputs = op.in.map((t) => (t.optional ? `options.${t.name}` : t.name)).join(', ');
  const call = `this.#sink.run(OPS.${camel(op.name)}, [${inputs}], ${fields.length ? 'options' : '{}'})`;
  return [
    ...docs(op).map((line) => `  ${line}`),
    `  ${camel(op.name)}(${args.join(', ')}): ${op.out.length ? 'T' : 'void'} {`,
    `    ${op.out.length ? `return ${call} as T;` : `${call};`}`,
    '  }',
  ].join('\n');
}

function docs(op) {
  const shapeOf = (t) => `[${t.shape.split(' ').join(',')}] ${t.dtype}`;
  const lines = op.in.map((t) => `@param ${t.optional ? `options.${t.name}` : t.name} ${shapeOf(t)}${t.mut ? ', changed in place' : ''}`);
  for (const a of op.attrs) {
    const type = a.type === 'enum' ? a.values.join(' | ') : a.type;
    lines.push(`@param options.${a.name} ${type}${a.default === undefined ? '' : `, default ${a.default}`}`);
  }
  for (const o of op.out) lines.push(`@returns ${o.rule ? o.name : `[${o.shape.split(' ').join(',')}]`} ${o.dtype ?? o.dtypeRule}`);
  return ['/**', ` * ${op.doc}`, ...lines.map((l) => ` * ${l}`), ' */'];
}

/** @returns {string} the text of ts/gen/ops.ts */
export function generateTs(decl) {
  const ids = decl.ops.map((op, i) => [op, i + 64]);
  return `// Written by scripts/gen-ops.mjs from ops.json. Do not edit.
import type { DType } from '../core/dtype.js';
import * as rules from '../core/rules.js';
import type { OpDecl, Sink, TensorRef } from '../core/types.js';

/** Declarations by method name. */
export const OPS = {
${ids.map(([op, id]) => table(op, id)).join('\n')}
} as const satisfies Record<string, OpDecl>;

/** One method per op: checks the call, then hands it to the sink. Throws ShapeError, DTypeError, ArgumentError, DisposedError. */
export class Ops<T extends TensorRef> {
  readonly #sink: Sink<T>;
  constructor(sink: Sink<T>) {
    this.#sink = sink;
  }

${decl.ops.map(method).join('\n\n')}
}
`;
}
