// One file that grows step by step: counts, failures by name with their first lines, rows of the benchmarks.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SHOWN_LINES = 12;
const zero = () => ({ passed: 0, failed: 0, skipped: 0 });

export class Report {
  constructor(folder, facts) {
    this.file = join(folder, 'gpu-check.json');
    const old = existsSync(this.file) ? JSON.parse(readFileSync(this.file, 'utf8')) : {};
    const same = old.device?.device === facts.device.device && old.commit === facts.commit;
    this.data = { version: 1, ...facts, steps: same ? old.steps : {} };
  }

  /** A step starts anew: what an earlier run said of it is forgotten. */
  begin(name) {
    this.step = { ...zero(), seconds: 0, failures: [], skips: [], rows: [] };
    this.data.steps[name] = this.step;
    this.since = Date.now();
    console.log(`== ${name}`);
  }

  /** Adds what a program said of itself (scripts/testing/counts.mjs); of a failure its telling lines are kept. */
  add(name, counts, run) {
    for (const key of ['passed', 'failed', 'skipped']) this.step[key] += counts[key];
    if (counts.failed > 0) this.step.failures.push({ name, problem: counts.problem ?? null, lines: tellingLines(run?.output ?? '') });
    const verdict = counts.failed > 0 ? `FAIL ${counts.problem ?? ''}` : 'ok';
    console.log(
      `${name}: ${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped ${verdict} ${run ? `(${run.seconds.toFixed(1)} s)` : ''}`,
    );
    if (counts.failed > 0) for (const line of this.step.failures.at(-1).lines) console.log(`    ${line}`);
    this.save();
  }

  skip(name, reason) {
    this.step.skipped++;
    this.step.skips.push({ name, reason });
    console.log(`${name}: skipped, ${reason}`);
    this.save();
  }

  rows(rows) {
    this.step.rows.push(...rows);
    this.save();
  }

  save() {
    this.step.seconds = (Date.now() - this.since) / 1000;
    const sum = zero();
    for (const step of Object.values(this.data.steps)) for (const key of Object.keys(sum)) sum[key] += step[key];
    writeFileSync(`${this.file}.tmp`, `${JSON.stringify({ ...this.data, ...sum }, null, 1)}\n`);
    renameSync(`${this.file}.tmp`, this.file);
  }

  /** Counts of the steps that this run began. */
  sum(names) {
    const sum = zero();
    for (const name of names) for (const key of Object.keys(sum)) sum[key] += this.data.steps[name]?.[key] ?? 0;
    return sum;
  }
}

// The lines that name a failure, else the last ones.
function tellingLines(output) {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const telling = lines.filter((line) => /fail|error|not ok|mismatch|invalid|hazard|is .*, not /i.test(line));
  return (telling.length > 0 ? telling.slice(0, SHOWN_LINES) : lines.slice(-SHOWN_LINES)).map((line) => line.slice(0, 400));
}
