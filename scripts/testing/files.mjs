import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const IGNORED = /^(node_modules|dist|build|build-.*|out|\..*)$/;

/** Project files by name from the root: what git knows and does not ignore, or a walk where there is no git. */
export function projectFiles(root) {
  const git = spawnSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (git.status === 0 && git.stdout)
    return [...new Set(git.stdout.split('\0'))].filter((name) => name && existsSync(join(root, name))).sort();
  return walk(root, '').sort();
}

function walk(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const name = folder ? `${folder}/${entry.name}` : entry.name;
    if (entry.isDirectory()) return IGNORED.test(entry.name) && entry.name !== '.ci' ? [] : walk(root, name);
    return entry.isFile() ? [name] : [];
  });
}

/**
 * Test files below test/ with what the first lines ask of the driver: `// driver: timeout=600 alone`.
 * `timeout` in seconds; `alone` for tests that measure time or memory.
 */
export function testFiles(root, wanted) {
  return projectFiles(root)
    .filter((name) => name.startsWith('test/') && name.endsWith('.test.ts') && wanted(name))
    .map((name) => ({ name, ...directives(readFileSync(join(root, name), 'utf8')) }));
}

export function directives(text) {
  const line = /^\/\/ driver:(.*)$/m.exec(text.split('\n').slice(0, 10).join('\n'))?.[1] ?? '';
  return { timeoutS: Number(/\btimeout=(\d+)/.exec(line)?.[1] ?? 120), alone: /\balone\b/.test(line) };
}
