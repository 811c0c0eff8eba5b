import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UnsupportedError } from '../core/errors.js';
import type { Addon } from './addon.js';

let loaded: Addon | undefined;

// The package root is the nearest folder above that has package.json: the same from ts/ and from dist/.
function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

/** Where the addon is looked for: the environment variable NEXTSCALE_ADDON, else build/Release of the package. */
export function addonPath(): string {
  const given = process.env.NEXTSCALE_ADDON;
  return given ? resolve(given) : join(packageRoot(), 'build', 'Release', 'nextscale.node');
}

/** Loads the native addon once; throws UnsupportedError with the cure. */
export function loadAddon(): Addon {
  if (loaded) return loaded;
  const path = addonPath();
  if (!existsSync(path)) {
    const cure = process.env.NEXTSCALE_ADDON
      ? 'NEXTSCALE_ADDON points there: correct it or unset it'
      : 'build it with: npm run build (needs cmake, g++ and libhwy-dev; in a dependent project: npx cmake-js compile in the package folder)';
    throw new UnsupportedError(`the native engine ${path} does not exist; ${cure}`);
  }
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new UnsupportedError(`the native engine ${path} does not load (${why}); build it again with: npm run build`, { cause });
  }
  return loaded;
}
