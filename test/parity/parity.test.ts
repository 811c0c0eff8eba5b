// driver: timeout=600
// Every op of ops.json against its float64 reference definition: the declared tests, random other shapes, the other dtypes; the same bits
// for 1 and 2 threads (cuda: for two runs); inputs untouched. NEXTSCALE_SEED chooses other numbers, NEXTSCALE_OPS=a,b some of the ops,
// NEXTSCALE_DEVICE the device; where that is not there, every case counts as skipped.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { casesOf, DECLARED } from './cases.js';
import { device, openDevice } from './device.js';
import { referenceOf } from './references.js';
import { runCase } from './run.js';

const seed = Number(process.env.NEXTSCALE_SEED ?? 20240403);
const wanted = process.env.NEXTSCALE_OPS?.split(',');
const parity = suite('parity');
const { engines, missing } = await openDevice([1, 2]);
let passed = 0;
let failed = 0;
let skipped = 0;

parity.before(() => console.log(`parity: seed ${seed}, device ${device}`));

parity.after(async () => {
  for (const engine of new Set(engines)) await engine.close();
  console.log(`${passed} passed, ${failed} failed`);
});

for (const op of DECLARED) {
  if (wanted && !wanted.includes(op.name)) continue;
  if (missing) {
    const cases = casesOf(op, seed);
    for (const c of cases) parity.skip(`${op.name} ${c.label}`);
    skipped += cases.length;
    continue;
  }
  parity(op.name, async () => {
    const problems: string[] = [];
    let cases = 0;
    let error = 0;
    try {
      assert.ok(op.tests && op.tests.length > 0, `op ${op.name} declares no tests`);
      const reference = await referenceOf(op.name);
      for (const c of casesOf(op, seed)) {
        const verdict = await runCase(c, reference, engines, seed);
        cases++;
        error = Math.max(error, verdict.error);
        problems.push(...verdict.problems.map((p) => `${op.name} ${verdict.label}: ${p}`));
      }
    } catch (e) {
      problems.push(e instanceof Error ? e.message : String(e));
    }
    if (problems.length > 0) failed++;
    else passed++;
    console.log(
      `${op.name.padEnd(16)} ${String(cases).padStart(3)} cases  error ${error.toExponential(1)}  ${problems.length > 0 ? 'FAIL' : 'ok'}`,
    );
    assert.is(problems.length, 0, problems.join('\n'));
  });
}

if (missing) console.log(`parity: ${skipped} cases skipped, device ${device} is not there: ${missing}`);
parity.run();
