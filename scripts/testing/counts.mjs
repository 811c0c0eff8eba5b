// Reads what a test program says about itself. A program that says nothing, or ends badly after saying it, has failed.

/** The sums that a uvu file prints after its last suite. `run` is what runChild gives. @returns {Counts} */
export function readUvu(run) {
  const sums = [...plain(run.stdout).matchAll(/^ {2}Total: +(\d+)\n {2}Passed: +(\d+)\n {2}Skipped: +(\d+)\n {2}Duration: /gm)].at(-1);
  if (!sums) return failed(run.problem ?? `no test results (exit code ${run.code}): crashed, ended early, or never calls run()`);
  const [total, passed, skipped] = sums.slice(1).map(Number);
  if (total + skipped === 0) return failed('no tests in it');
  return settle(run, { passed, failed: total - passed, skipped });
}

/** The last line `N passed, N failed[, N skipped]` of native tests and of the golden runner. */
export function readLastLine(run) {
  const match = /(?:^|\n)(\d+) passed, (\d+) failed(?:, (\d+) skipped)?\s*$/.exec(plain(run.stdout));
  if (!match) return failed(run.problem ?? `no last line 'N passed, N failed' (exit code ${run.code})`);
  const [passed, failures, skipped] = match.slice(1).map((text) => Number(text ?? 0));
  if (passed + failures + skipped === 0) return failed('no tests in it');
  return settle(run, { passed, failed: failures, skipped });
}

/** @typedef {{ passed: number, failed: number, skipped: number, problem?: string }} Counts */

/** A check that is one test: passed when the program ends with 0. @returns {Counts} */
export function readExitCode(run) {
  return run.code === 0 && !run.problem ? { passed: 1, failed: 0, skipped: 0 } : failed(run.problem ?? `exit code ${run.code}`);
}

export function failed(problem) {
  return { passed: 0, failed: 1, skipped: 0, problem };
}

function settle(run, counts) {
  if (run.problem) return { ...counts, failed: counts.failed + 1, problem: run.problem };
  if (run.code !== 0 && counts.failed === 0) return { ...counts, failed: 1, problem: `exit code ${run.code} though no test failed` };
  if (run.code === 0 && counts.failed > 0) return { ...counts, problem: 'exit code 0 though tests failed' };
  return counts;
}

function plain(text) {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ANSI colours start with an escape character
  return text.replace(/\x1b\[[0-9;]*m/g, '').replace(/\r\n/g, '\n');
}
