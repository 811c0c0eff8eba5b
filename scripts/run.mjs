// `npm run demo | build | golden | bench` and `npm test`: brings everything they need up to date, then runs the job.
// Plain Node, no packages: this is the first thing that runs on a bare machine.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDist } from './setup/dist.mjs';
import { job } from './setup/exec.mjs';
import { ensureGenerated } from './setup/generated.mjs';
import { withLock } from './setup/lock.mjs';
import { ensurePackages } from './setup/packages.mjs';
import { root } from './setup/paths.mjs';
import { runMain, SetupError, say } from './setup/say.mjs';

const NODE_MIN = [20, 19];

const JOBS = {
  build: { run: () => 0 },
  demo: { run: (args) => node([join(root, 'dist', 'cli', 'main.js'), 'demo', ...args]) },
  golden: { run: (args) => node(['--import', 'tsx', join(root, 'test', 'golden', 'run.ts'), ...args]) },
  bench: { run: (args) => node(['--import', 'tsx', join(root, 'bench', 'run.ts'), ...args]) },
  // The driver reports stale generated files as a failure instead of repairing them.
  test: {
    regenerate: false,
    onFailedSetUp: () => process.stdout.write('0 passed, 1 failed\n'),
    run: (args) => node([join(root, 'scripts', 'testing', 'driver.mjs'), ...args]),
  },
};

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > NODE_MIN[0] || (major === NODE_MIN[0] && minor >= NODE_MIN[1])) return;
  throw new SetupError(
    `Node.js ${NODE_MIN.join('.')} or newer is needed, this is ${process.versions.node}: https://nodejs.org/en/download`,
  );
}

async function setUp({ regenerate }) {
  await ensurePackages(root);
  // Imported late: both resolve packages that the step above installs.
  const { ensureAddon } = await import('./setup/native.mjs');
  if (regenerate) await ensureGenerated(root);
  await ensureAddon(root);
  await ensureDist(root);
}

function node(args) {
  return job(process.execPath, args, { cwd: root });
}

await runMain(async () => {
  const [name = '', ...args] = process.argv.slice(2);
  const chosen = JOBS[name];
  if (!chosen) throw new SetupError(`unknown job '${name}': one of ${Object.keys(JOBS).join(', ')}`);
  checkNode();
  if (!existsSync(join(root, 'package-lock.json'))) throw new SetupError(`${root} is no nextscale checkout: package-lock.json is missing`);
  try {
    await withLock(join(root, '.cache', 'setup.lock'), () => setUp({ regenerate: chosen.regenerate ?? true }));
  } catch (error) {
    if (error instanceof SetupError) chosen.onFailedSetUp?.();
    throw error;
  }
  if (name === 'build') say('everything is up to date');
  return chosen.run(args);
});
