// The table of ops for docs/inside.
const cell = (s) => s.replaceAll('|', '\\|');
const shape = (t) => (t.rule ? `by rule \`${t.rule}\`` : `\`[${t.shape.split(' ').join(',')}]\``);

function row(op, id) {
  const inputs = op.in.map((t) => `${t.name}${t.optional ? '?' : ''}${t.mut ? ' (in place)' : ''} ${shape(t)} ${t.dtype}`);
  const attrs = op.attrs.map((a) => {
    const type = a.type === 'enum' ? a.values.join('/') : a.type;
    return `${a.name}: ${type}${a.default === undefined ? '' : ` = ${a.default}`}`;
  });
  const outputs = op.out.map((o) => `${o.name} ${shape(o)} ${o.dtype ?? `by rule \`${o.dtypeRule}\``}`);
  return `| ${id} | \`${op.name}\` | ${[op.doc, inputs.join('; '), attrs.join(', '), outputs.join('; ') || 'none', String(op.tol)].map(cell).join(' | ')} |`;
}

/** @returns {string} the text of docs/inside/ops.md */
export function generateDocs(decl) {
  return `<!-- Written by scripts/gen-ops.mjs from native/abi/ops.json. Do not edit. -->
# Ops

Shape letters: [glossary.md](glossary.md). \`...\` stands for any leading dims, \`*\` for any dims, \`?\` marks an optional input. Inputs are contiguous;
their data is aligned to the element size only, since a tensor may lie in a memory-mapped file. Tolerances are relative to the
largest reference value of a parity case.

| id | op | meaning | inputs | attributes | outputs | tolerance |
|---|---|---|---|---|---|---|
${decl.ops.map((op, i) => row(op, i + 64)).join('\n')}
`;
}
