// driver: timeout=180
import { spawn, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addonPath } from '../../../ts/engine/index.js';

const test = suite('processes and threads');
const index = new URL('../../../ts/engine/index.ts', import.meta.url).href;
const prelude = `const { createEngine } = await import(${JSON.stringify(index)});`;
const env = { ...process.env, NEXTSCALE_ADDON: addonPath() };

interface End {
  code: number | null;
  signal: string | null;
  out: string;
  err: string;
}

function child(code: string, flags: string[] = []): Promise<End> {
  const cwd = fileURLToPath(new URL('../../..', import.meta.url));
  const p = spawn(process.execPath, [...flags, '--import', 'tsx', '--input-type=module', '-e', prelude + code], { cwd, env });
  let [out, err] = ['', ''];
  p.stdout.on('data', (d) => {
    out += d;
  });
  p.stderr.on('data', (d) => {
    err += d;
  });
  const killer = setTimeout(() => p.kill('SIGKILL'), 30_000);
  return new Promise((resolve) =>
    p.on('close', (code, signal) => {
      clearTimeout(killer);
      resolve({ code, signal, out, err });
    }),
  );
}

const clean = (e: End): void => assert.equal([e.code, e.signal, e.err], [0, null, '']);
const queue = `const t = e.ops.fill({ shape: [4] }); for (let i = 0; i < 3000; i++) e.ops.accumulate(t, t);`;

test('the process ends by itself with work queued and nobody waiting', async () => {
  const since = Date.now();
  clean(await child(`const e = await createEngine({ device: 'null', fault: { delayUs: 20000 } }); ${queue}`));
  assert.ok(Date.now() - since < 20_000);
});

test('an idle engine does not hold the process', async () => {
  clean(await child(`const e = await createEngine({ threads: 2 }); e.tensor(new Float32Array(4), [4]);`));
});

test('a thread that cannot be started is an error of createEngine alone', async () => {
  if (spawnSync('prlimit', ['--version']).status !== 0) return;
  const end = await child(`const e = await createEngine({ threads: 1 });
    const { execFileSync } = await import('node:child_process');
    const { readFileSync } = await import('node:fs');
    const limit = (n) => execFileSync('prlimit', ['--pid', String(process.pid), '--as=' + n + ':unlimited']);
    limit(Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024 + (4 << 20));
    await createEngine({ threads: 2 }).catch((x) => console.log(x.code, x.message));
    limit('unlimited');
    console.log(String(await e.ops.fill({ shape: [2], value: 1 }).read()), (await createEngine({ threads: 2 })).threads);`);
  clean(end);
  assert.match(end.out, /^ERR_OUT_OF_MEMORY \[create\] cannot start the worker thread: .*\n1,1 2\n$/);
});

test('a pending promise holds the process until it settles', async () => {
  const end = await child(`const e = await createEngine({ device: 'null', fault: { delayUs: 1000 } });
    const t = e.ops.fill({ shape: [4] }); for (let i = 0; i < 200; i++) e.ops.accumulate(t, t);
    t.read().then(() => console.log('settled'));`);
  clean(end);
  assert.is(end.out, 'settled\n');
});

test('process.exit with work queued and promises pending', async () => {
  clean(
    await child(`const e = await createEngine({ device: 'null', fault: { delayUs: 20000 } }); ${queue}
    t.read(); e.flush(); e.throttle(); setTimeout(() => process.exit(0), 30);`),
  );
  clean(
    await child(`const e = await createEngine({ threads: 2 }); const x = e.ops.fill({ shape: [1 << 22], value: 1 });
    for (let i = 0; i < 2000; i++) e.ops.accumulate(x, x); x.read(); setTimeout(() => process.exit(0), 30);`),
  );
});

test('an engine nobody closed is collected, its worker thread ends', async () => {
  const end = await child(
    `const { readdirSync } = await import('node:fs');
    const threads = () => readdirSync('/proc/self/task').length;
    const wait = (ms) => new Promise((r) => setTimeout(r, ms));
    const before = threads();
    await (async () => { const e = await createEngine({ threads: 3 }); e.ops.fill({ shape: [1 << 20] }); await e.flush(); })();
    const during = threads();
    for (let i = 0; i < 100 && threads() > before; i++) { globalThis.gc(); await wait(10); }
    console.log(during - before >= 3, threads() <= before);`,
    ['--expose-gc'],
  );
  clean(end);
  assert.is(end.out, 'true true\n');
});

test('the finalizer net releases a forgotten tensor, and warns once in debug mode', async () => {
  const end = await child(
    `const wait = (ms) => new Promise((r) => setTimeout(r, ms));
    const e = await createEngine({ device: 'null', debug: true });
    e.on('warning', (w) => console.log(w.message));
    const kept = e.tensor(new Float32Array(2), [2]);
    (() => { for (let i = 0; i < 5; i++) e.ops.unary(kept, { fn: 'neg' }); })();
    await e.flush();
    const before = e.memory().tensors;
    for (let i = 0; i < 40 && e.memory().tensors > 1; i++) { globalThis.gc(); await wait(10); }
    await e.flush();
    console.log(before, e.memory().tensors, e.memory().liveBytes, kept.disposed);
    await e.close();`,
    ['--expose-gc'],
  );
  clean(end);
  assert.is(end.out, 'a tensor made by unary was collected without dispose(); the engine has released it\n6 1 64 false\n');
});

test('the finalizer net releases what a forgotten scope owns, adopted tensors once', async () => {
  const end = await child(
    `const wait = (ms) => new Promise((r) => setTimeout(r, ms));
    const e = await createEngine({ device: 'null', debug: true });
    e.on('warning', (w) => console.log(w.message));
    const kept = e.tensor(new Float32Array(2), [2]);
    (() => {
      const scope = e.openScope();
      scope.run(() => { for (let i = 0; i < 5; i++) e.ops.unary(kept, { fn: 'neg' }); });
      scope.adopt(e.ops.unary(kept, { fn: 'abs' }));
    })();
    await e.flush();
    const before = e.memory().tensors;
    for (let i = 0; i < 40 && e.memory().tensors > 1; i++) { globalThis.gc(); await wait(10); }
    const again = e.ops.unary(kept, { fn: 'neg' });
    await again.read();
    await e.flush();
    console.log(before, e.memory().tensors, e.memory().liveBytes);
    await e.close();`,
    ['--expose-gc'],
  );
  clean(end);
  assert.is(end.out, 'a scope was collected without close(); the engine has released it\n7 2 128\n');
});

function thread(code: string): Worker {
  return new Worker(`(async () => { const { parentPort } = await import('node:worker_threads'); ${code} })()`, {
    eval: true,
    env,
    workerData: null,
  });
}

// A worker thread has no TypeScript loader, so it takes the addon itself.
const raw = `const { createRequire } = await import('node:module');
  const addon = createRequire(process.cwd() + '/')(process.env.NEXTSCALE_ADDON);
  const open = (fault) => addon.create('null', 0, 0, fault, 1000, 1e6, 2 ** 28, () => {});`;

test('engines in worker threads, loaded and unloaded many times', async () => {
  for (let round = 0; round < 3; round++) {
    const ends = Array.from({ length: 3 }, () => {
      const w = thread(`${raw} const h = await open('');
        addon.upload(h, 0, 1, 0, [2], new Float32Array([1, 2]));
        const into = new Float32Array(2); await addon.read(h, 0, 1, into); await addon.close(h);
        parentPort.postMessage(new Uint32Array(into.buffer)[0]);`);
      return new Promise<unknown[]>((resolve, reject) => {
        const got: unknown[] = [];
        w.on('message', (m) => got.push(m));
        w.on('error', reject);
        w.on('exit', (code) => resolve([...got, code]));
      });
    });
    const results = await Promise.all(ends);
    for (const r of results) assert.equal(r, [results[0]?.[0], 0]);
    assert.type(results[0]?.[0], 'number');
  }
});

test('worker threads that are terminated with work queued and promises settling', async () => {
  for (let round = 0; round < 12; round++) {
    const w = thread(`${raw} const h = await open('{"failCommand":20,"delayUs":${[0, 50, 2000][round % 3]}}');
      const fill = [17, 64, 0, (1 << 8) | (9 << 16), 0, 1, 256, 4, 1, 4, 0, 0, 0, 0, 0, 0, 0];
      const more = []; for (let i = 1; i < 200; i++) { const f = [...fill]; f[4] = i; more.push(...f); }
      addon.submit(h, Uint32Array.from(more), more.length);
      for (let i = 1; i < 150; i++) addon.read(h, i, 1, new Float32Array(4)).catch(() => {});
      addon.flush(h).catch(() => {}); addon.throttle(h); if (${round % 2}) addon.close(h).catch(() => {});
      parentPort.postMessage('queued');`);
    await new Promise((resolve, reject) => {
      w.once('message', resolve);
      w.once('error', reject);
    });
    const errors: unknown[] = [];
    w.on('error', (e) => errors.push(e));
    await new Promise((r) => setTimeout(r, round % 4));
    await w.terminate();
    assert.equal(errors, []);
  }
});

test.run();
