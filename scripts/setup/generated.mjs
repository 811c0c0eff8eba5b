import { join } from 'node:path';
import { capture, step } from './exec.mjs';
import { say } from './say.mjs';

const script = (root) => join(root, 'scripts', 'gen-ops.mjs');

export function isGeneratedFresh(root) {
  return capture(process.execPath, [script(root), '--check'], { cwd: root }) !== null;
}

/** Rewrites what native/abi/ops.json generates when it is stale. */
export async function ensureGenerated(root) {
  if (isGeneratedFresh(root)) return;
  say('native/abi/ops.json has changed: writing the generated files');
  await step(process.execPath, [script(root)], { what: 'the generator', cwd: root });
}
