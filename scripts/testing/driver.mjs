// `npm test`: every check of the project, one line each; the last line is `N passed, N failed[, N skipped]`.
import { root } from '../setup/paths.mjs';
import { failed } from './counts.mjs';
import { STAGES } from './stages.mjs';
import { Tally } from './tally.mjs';

const USAGE = `usage: npm test [-- [--only ${Object.keys(STAGES).join('|')}]... [--fast]]
  --only STAGE  runs this stage alone; may be repeated
  --fast        leaves the sanitizer runs out (counted as skipped)
`;

function parse(args) {
  const options = { only: [], fast: false };
  for (let i = 0; i < args.length; i++) {
    if (args[i] === '--fast') options.fast = true;
    else if (args[i] === '--only' && args[i + 1] in STAGES) options.only.push(args[++i]);
    else return null;
  }
  return options;
}

const options = parse(process.argv.slice(2));
if (!options) {
  process.stderr.write(USAGE);
  process.exit(2);
}
const tally = new Tally();
for (const [name, stage] of Object.entries(STAGES)) {
  if (options.only.length > 0 && !options.only.includes(name)) continue;
  tally.heading(name);
  try {
    await stage({ root, tally, fast: options.fast });
  } catch (error) {
    tally.add(name, failed(`the driver stumbled: ${error.stack}`));
  }
}
process.exitCode = tally.finish();
