import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that disappears when the process ends. */
export function temporaryFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'nextscale-test-'));
  process.on('exit', () => rmSync(path, { recursive: true, force: true }));
  return path;
}
