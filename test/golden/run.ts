// node --import tsx test/golden/run.ts DIR...: compares the library with stored numbers of the reference. Exit code 1 on any failure.
import { runGolden } from './runner.js';

async function main(): Promise<void> {
  const dirs = process.argv.slice(2);
  if (dirs.length === 0) {
    process.stderr.write('usage: npm run --silent golden -- DIR...\n');
    process.exitCode = 2;
    return;
  }
  const counts = await runGolden(dirs, (line) => process.stdout.write(`${line}\n`));
  process.exitCode = counts.failed > 0 ? 1 : 0;
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exitCode = 1;
});
