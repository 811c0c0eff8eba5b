// Writes everything derived from native/abi/ops.json. `--check` only compares and exits 1 when a file is stale.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { generateCpp } from './gen/cpp.mjs';
import { generateDocs } from './gen/docs.mjs';
import { generateTs } from './gen/ts.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const decl = JSON.parse(readFileSync(join(root, 'native/abi/ops.json'), 'utf8'));
const files = {
  'native/abi/gen/ops.h': generateCpp(decl),
  'ts/gen/ops.ts': generateTs(decl),
  'docs/inside/ops.md': generateDocs(decl),
};

let stale = 0;
for (const [name, text] of Object.entries(files)) {
  const path = join(root, name);
  let old = '';
  try {
    old = readFileSync(path, 'utf8');
  } catch {}
  if (old === text) continue;
  if (process.argv.includes('--check')) {
    process.stderr.write(`${name} is stale: run npm run gen\n`);
    stale++;
    continue;
  }
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}
process.exitCode = stale ? 1 : 0;
