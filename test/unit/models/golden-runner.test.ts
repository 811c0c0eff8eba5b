// The golden runner must be able to fail: every way in which a case can be wrong is red here once.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareWith } from '../../golden/kind.js';
import { runGolden } from '../../golden/runner.js';

const SET = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'golden', 'set');
const test = suite('golden runner');
let folder: string;

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'nextscale-golden-'));
});
test.after.each(() => rmSync(folder, { recursive: true }));

async function report(): Promise<{ failed: number; skipped: number; passed: number; lines: string[] }> {
  const lines: string[] = [];
  return { ...(await runGolden([folder], (line) => lines.push(line))), lines };
}

type Json = Record<string, unknown> & { tensors: Record<string, Record<string, unknown>> };

/** Copies a case of the set and edits its case.json. */
function copy(name: string, edit: (json: Json) => void): void {
  const dir = join(folder, name);
  cpSync(join(SET, name), dir, { recursive: true });
  const json = JSON.parse(readFileSync(join(dir, 'case.json'), 'utf8')) as Json;
  edit(json);
  writeFileSync(join(dir, 'case.json'), JSON.stringify(json));
}

test('an untouched case passes', async () => {
  copy('interpolate', () => {});
  const { failed, passed, lines } = await report();
  assert.equal([failed, passed], [0, 22]);
  assert.match(lines[0]!, /^interpolate 00-area-3x3-to-1x1\/y \S+ \S+ ok$/);
  assert.is(lines.at(-1), '22 passed, 0 failed, 0 skipped');
});

test('a changed number fails', async () => {
  copy('interpolate', () => {});
  const file = join(folder, 'interpolate', 'io.safetensors');
  const bytes = readFileSync(file);
  bytes.writeFloatLE(bytes.readFloatLE(bytes.length - 4) + 1e-3, bytes.length - 4);
  writeFileSync(file, bytes);
  const { failed, lines } = await report();
  assert.is(failed, 1);
  assert.ok(lines.some((line) => / FAIL 1 of \d+ differ$/.test(line)));
});

test('another rule fails', async () => {
  copy('interpolate', (json) => {
    for (const row of json.cases as { mode: string }[]) if (row.mode === 'bicubic') row.mode = 'nearest';
  });
  assert.ok((await report()).failed >= 4);
});

test('an output that no check covers fails', async () => {
  copy('interpolate', (json) => {
    json.tensors.unheard = { role: 'output', dtype: 'F32', shape: [1], atol: 1 };
  });
  const { failed, lines } = await report();
  assert.is(failed, 1);
  assert.ok(lines.includes('interpolate unheard nan 0.00e+0 FAIL not checked'));
});

test('an unknown kind, a missing file and an empty folder fail', async () => {
  assert.is((await report()).failed, 1);
  copy('interpolate', (json) => {
    json.kind = 'interpolat';
  });
  assert.ok((await report()).failed > 0);
  copy('interpolate', () => {});
  rmSync(join(folder, 'interpolate', 'io.safetensors'));
  assert.ok((await report()).failed > 0);
});

test('families to come are skipped with a reason, unknown kinds fail', async () => {
  for (const [i, json] of [
    { family: 'mar', case: 'a' },
    { family: 'var', case: 'b', kind: 'var-unknown' },
  ].entries()) {
    mkdirSync(join(folder, `${i}`));
    writeFileSync(join(folder, `${i}`, 'case.json'), JSON.stringify(json));
  }
  const { failed, skipped, lines } = await report();
  assert.equal([failed, skipped], [1, 1]);
  assert.match(lines[0]!, /^0 SKIP family mar/);
  assert.match(lines[1]!, /unknown kind "var-unknown"/);
});

test('comparison: NaN, shapes, exactness, one tolerance per row', () => {
  const got = (data: number[], shape = [data.length]) => ({ data, shape });
  const ok = (a: number[], b: number[], note: object) => compareWith('t', got(a), got(b), note).ok;
  assert.ok(ok([1.01], [1], { atol: 0.02, rtol: 0 }));
  assert.not(ok([1.03], [1], { atol: 0.02, rtol: 0 }));
  assert.not(ok([Number.NaN], [1], { atol: 10, rtol: 0 }));
  assert.not(ok([Number.POSITIVE_INFINITY], [1], { atol: 10, rtol: 0 }));
  assert.ok(ok([Number.NEGATIVE_INFINITY], [Number.NEGATIVE_INFINITY], { atol: 1, rtol: 0 }));
  assert.ok(ok([102], [100], { atol: 0, rtol: 0.03 }));
  assert.not(ok([1.0000001], [1], { exact: true, atol: 1 }));
  assert.not(ok([2], [1], {}));
  assert.ok(ok([1.1, 5.001], [1, 5], { atol: [0.2, 0.01], rtol: 0 }));
  assert.not(ok([1.1, 5.1], [1, 5], { atol: [0.2, 0.01], rtol: 0 }));
  assert.not(compareWith('t', got([1, 2], [2]), got([1, 2], [1, 2]), { atol: 1 }).ok);
});

test.run();
