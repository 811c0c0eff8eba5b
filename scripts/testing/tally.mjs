const SHOWN_LINES = 150;

/** Prints one line per suite as it ends, remembers what failed and what was skipped, and adds everything up. */
export class Tally {
  /** @param {(text: string) => unknown} [write] */
  constructor(write = (text) => process.stdout.write(text)) {
    this.write = write;
    this.sums = { passed: 0, failed: 0, skipped: 0 };
    this.notes = [];
  }

  heading(text) {
    this.write(`\n${text}\n`);
  }

  add(name, counts, run = {}) {
    for (const key of Object.keys(this.sums)) this.sums[key] += counts[key];
    const mark = counts.failed > 0 ? 'FAIL' : counts.passed > 0 ? 'ok' : 'skip';
    const time = run.seconds === undefined ? '' : `  ${run.seconds.toFixed(1)} s`;
    this.write(`  ${mark.padEnd(4)}  ${name.padEnd(52)}  ${describe(counts)}${time}\n`);
    if (counts.failed > 0) {
      this.notes.push(`failed: ${name}${counts.problem ? `: ${counts.problem}` : ''}`);
      this.showOutput(run.output ?? '', counts.problem);
    }
    if (counts.skipped > 0) this.notes.push(`skipped: ${name}: ${counts.reason ?? `${counts.skipped} tests`}`);
  }

  skip(name, reason) {
    this.add(name, { passed: 0, failed: 0, skipped: 1, reason });
  }

  showOutput(output, problem) {
    const lines = output.trimEnd().split('\n');
    const shown = lines.slice(-SHOWN_LINES);
    if (shown.length < lines.length) this.write(`    ... ${lines.length - shown.length} lines before\n`);
    for (const line of shown) this.write(`    ${line}\n`);
    if (problem) this.write(`    -> ${problem}\n`);
  }

  /** Writes the closing lines and returns the exit code. Nothing at all having run is a failure. */
  finish() {
    if (this.sums.passed + this.sums.failed + this.sums.skipped === 0)
      this.add('tests', { passed: 0, failed: 1, skipped: 0, problem: 'nothing ran' });
    if (this.notes.length > 0) this.write(`\n${this.notes.join('\n')}\n`);
    this.write(`\n${describe(this.sums)}\n`);
    return this.sums.failed > 0 ? 1 : 0;
  }
}

function describe({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
