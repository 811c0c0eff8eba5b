// scripts/gpu-check run, once the archive is unpacked. Steps go on after a failure; each has a budget, and says what it left out for want of time.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from '../setup/paths.mjs';
import { machine } from './machine.mjs';
import { Report } from './report.mjs';
import { STEPS } from './steps.mjs';

const ALIASES = { sanitize: ['memcheck', 'racecheck'] };

function parse() {
  const { values } = parseArgs({
    options: {
      steps: { type: 'string', default: Object.keys(STEPS).join() },
      out: { type: 'string' },
      archive: { type: 'string' },
      emulated: { type: 'boolean', default: false },
      // For steps after a first look: these ops alone, a plug-in that is built already, seconds per step, tiny benchmarks.
      ops: { type: 'string' },
      plugin: { type: 'string' },
      budget: { type: 'string', default: '540' },
      smoke: { type: 'boolean', default: false },
      python: { type: 'string', default: 'python3' },
    },
  });
  const names = values.steps.split(',').flatMap((name) => ALIASES[name] ?? [name]);
  for (const name of names)
    if (!STEPS[name]) throw new Error(`--steps: ${name} is none of ${[...Object.keys(STEPS), ...Object.keys(ALIASES)].join()}`);
  return { ...values, names, budgetS: Number(values.budget), smoke: values.smoke || values.emulated };
}

async function main() {
  const options = parse();
  const kit = join(options.out, 'kit');
  const manifest = JSON.parse(readFileSync(join(kit, 'manifest.json'), 'utf8'));
  const device = machine(options.emulated);
  const report = new Report(options.out, { device, commit: manifest.commit, emulated: options.emulated, node: process.version });
  const context = { root, kit, js: join(kit, 'js'), state: options.out, node: process.env.GPU_CHECK_NODE ?? process.execPath, manifest };
  Object.assign(context, { options, device, report, addon: join(kit, 'release', 'nextscale.node') });
  for (const name of options.names) {
    report.begin(name);
    context.until = Date.now() + options.budgetS * 1000;
    try {
      await STEPS[name](context);
    } catch (error) {
      report.add(name, { passed: 0, failed: 1, skipped: 0, problem: error.message }, error.run);
    }
    report.save();
  }
  console.log(`${report.file}${existsSync(report.file) ? '' : ' (not written)'}`);
  const { passed, failed, skipped } = report.sum(options.names);
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  process.exitCode = failed > 0 ? 1 : 0;
}

main().catch((error) => {
  console.error(`gpu-check run: ${error.message}`);
  console.log('0 passed, 1 failed, 0 skipped');
  process.exitCode = 1;
});
