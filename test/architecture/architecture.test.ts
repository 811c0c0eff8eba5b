import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { projectFiles } from '../../scripts/testing/files.mjs';
import { RULES, show, warningsOf } from './check.js';

const TEXT = /(^|\/)(\.[\w-]+|run|LICENSE|[\w.-]+\.(ts|mjs|js|json|md|h|cpp|cu|cuh|py|txt|gyp|svg|html|css|yml|yaml|sh))$/;
const MAX_BYTES = 4 << 20;

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const names = projectFiles(root).filter((name: string) => TEXT.test(name) && statSync(join(root, name)).size < MAX_BYTES);
const files = new Map<string, string>(names.map((name: string) => [name, readFileSync(join(root, name), 'utf8')]));

const test = suite('architecture');

test('the project is seen at all', () => {
  for (const file of ['package.json', 'CMakeLists.txt', 'native/abi/ops.json', 'ts/index.ts'])
    assert.ok(files.has(file), `${file} is missing`);
});

for (const [name, rule] of Object.entries(RULES)) {
  test(name, () => {
    const findings = rule(files);
    assert.is(findings.length, 0, `\n${show(findings)}\n`);
  });
}

test.after(() => {
  const warnings = warningsOf(files);
  if (warnings.length > 0) process.stdout.write(`\n${warnings.length} warnings\n${show(warnings)}\n`);
});

test.run();
