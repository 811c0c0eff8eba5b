// npm's install script: builds the addon when nextscale is installed as a package. Installs no system packages; prints the cure.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { withLock } from './lock.mjs';
import { root } from './paths.mjs';
import { runMain } from './say.mjs';

await runMain(async () => {
  if (process.env.NEXTSCALE_SKIP_BUILD === '1' || !existsSync(join(root, 'CMakeLists.txt'))) return 0;
  const { ensureAddon } = await import('./native.mjs');
  await withLock(join(root, '.cache', 'setup.lock'), () => ensureAddon(root, { mayInstall: false }));
  return 0;
});
