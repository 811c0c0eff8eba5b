import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

const require = createRequire(import.meta.url);

/** The script behind a package's command, found the way Node resolves it: hoisted or nested both work. */
export function binOf(packageName, binName = packageName) {
  const file = require.resolve(`${packageName}/package.json`);
  const { bin } = require(file);
  return join(dirname(file), typeof bin === 'string' ? bin : bin[binName]);
}

export function versionOf(packageName) {
  return require(`${packageName}/package.json`).version;
}
