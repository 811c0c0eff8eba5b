import { chmodSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { step } from './exec.mjs';
import { hashOf, readStamp, writeStamp } from './hash.mjs';
import { binOf, versionOf } from './paths.mjs';
import { say, seconds } from './say.mjs';

/** Compiles ts/ to dist/ when it differs from what dist/ was made of. */
export async function ensureDist(root) {
  const stamp = join(root, 'dist', '.nextscale-hash');
  const hash = hashOf(root, ['ts', 'tsconfig.json'], { facts: [versionOf('typescript')] });
  if (readStamp(stamp) === hash) return;
  const since = Date.now();
  say('compiling TypeScript (tsc)');
  rmSync(stamp, { force: true });
  await step(process.execPath, [binOf('typescript', 'tsc'), '-p', join(root, 'tsconfig.json')], { what: 'tsc', cwd: root });
  prune(join(root, 'dist'), join(root, 'ts'));
  const main = join(root, 'dist', 'cli', 'main.js');
  if (existsSync(main)) chmodSync(main, 0o755);
  writeStamp(stamp, hash);
  say(`TypeScript compiled in ${seconds(since)}`);
}

// Output whose source is gone would go on being imported and packed. Pruning after the emit keeps dist/ usable by running programs.
function prune(dist, source) {
  for (const entry of readdirSync(dist, { withFileTypes: true })) {
    const path = join(dist, entry.name);
    if (entry.isDirectory()) {
      if (!existsSync(join(source, entry.name))) rmSync(path, { recursive: true });
      else prune(path, join(source, entry.name));
      continue;
    }
    const stem = /^(.*?)(\.d\.ts|\.js)(\.map)?$/.exec(entry.name)?.[1];
    if (stem !== undefined && !existsSync(join(source, `${stem}.ts`))) rmSync(path);
  }
}
