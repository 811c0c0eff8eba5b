// driver: timeout=600
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hashOf } from '../../scripts/setup/hash.mjs';
import { withLock } from '../../scripts/setup/lock.mjs';
import { cureFor, installCommand } from '../../scripts/setup/system.mjs';
import { runChild } from '../../scripts/testing/child.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const test = suite<{ folder: string }>('set-up');

test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'nextscale-setup-'));
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

test('the content hash sees names, bytes and facts, and skips what it is told to', ({ folder }) => {
  mkdirSync(join(folder, 'a/test'), { recursive: true });
  writeFileSync(join(folder, 'a/x'), '1');
  const first = hashOf(folder, ['a', 'missing']);
  assert.is(hashOf(folder, ['a', 'missing']), first);
  assert.is.not(hashOf(folder, ['a'], { facts: ['release'] }), first);
  writeFileSync(join(folder, 'a/test/y'), '2');
  assert.is.not(hashOf(folder, ['a']), first);
  assert.is(hashOf(folder, ['a'], { skip: (name: string) => name === 'a/test' }), first);
  writeFileSync(join(folder, 'a/x'), '3');
  assert.is.not(hashOf(folder, ['a'], { skip: (name: string) => name === 'a/test' }), first);
});

test('one owner at a time, in this process and across processes', async ({ folder }) => {
  const lock = join(folder, 'lock');
  const log = join(folder, 'log');
  const program = join(folder, 'p.mjs');
  const url = pathToFileURL(join(root, 'scripts/setup/lock.mjs')).href;
  writeFileSync(
    program,
    `import { withLock } from '${url}';
     import { appendFileSync } from 'node:fs';
     const log = (text) => appendFileSync(${JSON.stringify(log)}, text + '\\n');
     await withLock(${JSON.stringify(lock)}, async () => { log('in'); await new Promise((r) => setTimeout(r, 100)); log('out'); });`,
  );
  const runs = await Promise.all(Array.from({ length: 4 }, () => runChild(process.execPath, [program], { timeoutS: 30 })));
  assert.equal(
    runs.map(({ code }) => code),
    [0, 0, 0, 0],
  );
  assert.is(readFileSync(log, 'utf8'), 'in\nout\n'.repeat(4));
  assert.not.ok(existsSync(lock));
});

test('the lock of a dead process is taken over, and an error releases it', async ({ folder }) => {
  const lock = join(folder, 'lock');
  const dead = spawn(process.execPath, ['-e', '0']);
  await new Promise((resolve) => dead.on('close', resolve));
  mkdirSync(lock);
  writeFileSync(join(lock, 'pid'), String(dead.pid));
  assert.is(await withLock(lock, async () => 7), 7);
  let message = '';
  await withLock(lock, async () => {
    throw new Error('broken');
  }).catch((error: Error) => {
    message = error.message;
  });
  assert.is(message, 'broken');
  assert.not.ok(existsSync(lock));
});

const highway = {
  what: 'Google Highway',
  found: () => false,
  packages: { apt: 'libhwy-dev', dnf: 'highway-devel', pacman: 'highway', apk: 'highway-dev', brew: 'highway' },
  fromSource: 'git clone highway',
};

test('what is missing comes with the exact command', () => {
  assert.is(installCommand([highway], 'apt'), 'apt-get install -y --no-install-recommends libhwy-dev');
  assert.match(cureFor([highway], 'apt'), 'sudo apt-get install -y --no-install-recommends libhwy-dev');
  assert.match(cureFor([highway], 'dnf'), 'sudo dnf install -y highway-devel');
  assert.match(cureFor([highway], 'brew'), /\n {2}brew install highway/);
  assert.match(cureFor([highway], 'apt'), 'git clone highway');
});

/** A machine on which Highway is missing until the package manager has run. */
function fakeMachine(folder: string, { root: isRoot }: { root: boolean }): Record<string, string> {
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  const script = (name: string, text: string) => writeFileSync(join(bin, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  const installed = join(folder, 'installed');
  for (const name of ['cmake', 'make', 'ninja']) script(name, 'echo "cmake version 3.25.1"');
  script('c++', `case "$*" in *hwy*) test -e ${installed} ;; esac`);
  script('apt-cache', 'echo "  Candidate: 1.0.3"');
  script('apt-get', `echo "apt-get $*" >> ${join(folder, 'log')}\ncase "$*" in *install*libhwy-dev*) touch ${installed} ;; esac`);
  script('sudo', 'exit 1');
  const url = pathToFileURL(join(root, 'scripts/setup/system.mjs')).href;
  const uid = isRoot ? '' : 'process.getuid = () => 1000;';
  const text = `${uid} import('${url}').then((m) => m.ensureToolchain()).catch((e) => { console.error(e.message); process.exit(1); });`;
  writeFileSync(join(folder, 'run.mjs'), text);
  return { PATH: `${bin}:/usr/bin:/bin`, CXX: '', hwy_DIR: '', CMAKE_PREFIX_PATH: '' };
}

test('as root the missing package is installed by apt-get, once', async ({ folder }) => {
  const env = fakeMachine(folder, { root: true });
  if (process.getuid?.() !== 0) writeFileSync(join(folder, 'bin', 'sudo'), '#!/bin/sh\nshift\nexec "$@"\n');
  for (let i = 0; i < 2; i++) {
    const run = await runChild(process.execPath, [join(folder, 'run.mjs')], { env });
    assert.is(run.code, 0, run.output);
    if (i === 0) assert.match(run.output, 'nextscale: installing libhwy-dev');
    else assert.is(run.output, '');
  }
  const calls = readFileSync(join(folder, 'log'), 'utf8')
    .split('\n')
    .filter((line) => line.includes('install'));
  assert.equal(calls, ['apt-get install -y --no-install-recommends libhwy-dev']);
});

test('without the right to install the exact command is printed', async ({ folder }) => {
  const run = await runChild(process.execPath, [join(folder, 'run.mjs')], { env: fakeMachine(folder, { root: false }) });
  assert.is(run.code, 1);
  assert.match(run.output, 'missing: Google Highway');
  assert.match(run.output, 'sudo apt-get install -y --no-install-recommends libhwy-dev');
});

test('an unknown job is an error that names the jobs', async () => {
  const run = await runChild(process.execPath, [join(root, 'scripts/run.mjs'), 'dmeo'], { cwd: root });
  assert.is(run.code, 1);
  assert.match(run.output, "unknown job 'dmeo': one of build, demo, golden, bench, test");
  assert.is(run.stdout, '');
});

test('an unknown option of the driver is an error with its usage', async () => {
  const run = await runChild(process.execPath, [join(root, 'scripts/testing/driver.mjs'), '--only', 'units'], { cwd: root });
  assert.is(run.code, 2);
  assert.match(run.output, /usage: npm test.*static\|native/);
});

test('when everything is in place the set-up says and fetches nothing', async () => {
  // A proxy that does not exist makes every attempt to reach the network fail.
  const env = { npm_config_offline: 'true', HTTPS_PROXY: 'http://127.0.0.1:9', HTTP_PROXY: 'http://127.0.0.1:9' };
  const build = [join(root, 'scripts/run.mjs'), 'build'];
  await runChild(process.execPath, build, { cwd: root, timeoutS: 500 });
  const run = await runChild(process.execPath, build, { cwd: root, env, timeoutS: 60 });
  assert.is(run.code, 0, run.output);
  assert.is(run.output, 'nextscale: everything is up to date\n');
});

test.run();
