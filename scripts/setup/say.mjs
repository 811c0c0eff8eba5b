// Progress lines and failures of the set-up: everything goes to stderr, stdout belongs to the job.
export class SetupError extends Error {}

export function say(text) {
  process.stderr.write(`nextscale: ${text}\n`);
}

export function seconds(since) {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

/** Runs `main` and turns a SetupError into its message and exit code 1. */
export async function runMain(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(error.message);
    process.exitCode = 1;
  }
}
