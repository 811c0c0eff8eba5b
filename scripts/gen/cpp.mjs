// C++ side of the op declarations: ids, input/output indices, parameter structs, one X-macro over all ops.
const pascal = (s) => s.replace(/(^|_)([a-z0-9])/g, (_, _u, c) => c.toUpperCase());
const enumName = (a) => pascal(a.name.replace(/([A-Z])/g, '_$1').toLowerCase());
const keyword = new Set(['float', 'double', 'int', 'auto', 'register', 'default', 'switch']);
const safe = (v) => (keyword.has(v) ? `${v}_` : v);

const kinds = { f32: 'f', i32: 'i', bool: 'b', dtype: 't', dims: 'd' };
const kind = (a) => kinds[a.type] ?? String.fromCharCode(64 + a.values.length);

function attrField(a) {
  if (a.type === 'f32') return `  float ${a.name};`;
  if (a.type === 'dims') return `  Dims ${a.name};`;
  if (a.type === 'enum') return `  ${enumName(a)} ${a.name};`;
  if (a.type === 'dtype') return `  DType ${a.name};`;
  return `  int32_t ${a.name};`;
}

function opNamespace(op, id) {
  const lines = [`// ${op.doc}`, `namespace ${op.name} {`, `constexpr int32_t kId = ${id};`];
  const names = (list, tail) => [...list.map((t) => safe(t.name)), tail].join(', ');
  lines.push(`namespace in { enum Index : int32_t { ${names(op.in, 'kCount')} }; }`);
  lines.push(`namespace out { enum Index : int32_t { ${names(op.out, 'kCount')} }; }`);
  for (const a of op.attrs) {
    if (a.type === 'enum') lines.push(`enum class ${enumName(a)} : int32_t { ${a.values.map(safe).join(', ')} };`);
  }
  lines.push('struct Params {', ...op.attrs.map(attrField), '};', `}  // namespace ${op.name}`, '');
  return lines.join('\n');
}

/** @returns {string} the text of native/abi/gen/ops.h */
export function generateCpp(decl) {
  const ids = decl.ops.map((op, i) => [op, i + 64]);
  return `// Written by scripts/gen-ops.mjs from ops.json. Do not edit.
#pragma once
#include <cstdint>

#include "native/abi/dtype.h"

namespace ns::op {

constexpr int32_t kFirstId = 64;
constexpr int32_t kOpCount = ${decl.ops.length};

struct Dims {
  int32_t n;
  int32_t d[6];
};

${ids.map(([op, id]) => opNamespace(op, id)).join('\n')}
struct Info {
  const char* name;
  int32_t inputs, outputs, params;  // params in 32-bit words
  uint32_t mutated;                 // bit i: input i is written in place
  uint32_t optional;                // bit i: input i may be absent
  uint32_t activations;             // bit i: input i is an activation, in f32 or 16 bits
  const char* kinds;                // one letter per attribute: f i b(ool) t (dtype) d(ims), or an enum: 'A' + its size - 1
};

constexpr Info kInfo[kOpCount] = {
${ids
  .map(([op]) => {
    const bits = (f) => op.in.reduce((m, t, i) => m | (f(t) ? 1 << i : 0), 0);
    const words = op.attrs.reduce((n, a) => n + (a.type === 'dims' ? 7 : 1), 0);
    return `    {"${op.name}", ${op.in.length}, ${op.out.length}, ${words}, ${bits((t) => t.mut)}u, ${bits((t) => t.optional)}u, ${bits((t) => t.act)}u, "${op.attrs.map(kind).join('')}"},`;
  })
  .join('\n')}
};

}  // namespace ns::op

// X(name) for every op, in id order.
#define NS_FOR_EACH_OP(X) \\
${decl.ops.map((op) => `  X(${op.name})`).join(' \\\n')}
`;
}
