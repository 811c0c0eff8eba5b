// driver: timeout=300
// Runs killed by SIGKILL at random moments go on from a whole checkpoint and end as if nothing had happened.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Philox } from '../../ts/core/philox.js';
import { folder, logged } from './support.js';

const CHILD = fileURLToPath(new URL('./child.ts', import.meta.url));
const EPOCHS = 48;
const KILLS = 10;
/** Milliseconds after the start within which a kill comes. */
const WITHIN = 200;

/** Runs the child; kills it `after` milliseconds after it is ready. True: it was killed. */
function run(out: string, ac: number, after?: number): Promise<boolean> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, ['--import', 'tsx', CHILD, out, String(EPOCHS), String(ac)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => {
      stderr += chunk;
    });
    child.stdout.once('data', () => {
      if (after !== undefined) setTimeout(() => child.kill('SIGKILL'), after);
    });
    child.on('error', failed);
    child.on('close', (code, signal) => {
      if (signal === 'SIGKILL') done(true);
      else if (code === 0) done(false);
      else failed(new Error(`the run ended with ${code}: ${stderr}`));
    });
  });
}

const outcome = (out: string): unknown => JSON.parse(readFileSync(`${out}.json`, 'utf8'));

for (const ac of [1, 2, 3])
  test(`killed ${KILLS} times at random moments equals the uninterrupted run (ac ${ac})`, async () => {
    const dir = folder();
    const [whole, killed] = [join(dir, 'whole'), join(dir, 'killed')];
    assert.is(await run(whole, ac), false);
    const random = new Philox(20 + ac, 1);
    let kills = 0;
    for (; kills < KILLS; kills++) {
      const after = (random.next() / 2 ** 32) * WITHIN;
      if (!(await run(killed, ac, after))) break;
    }
    assert.is(kills, KILLS, 'the run ended before it was killed often enough');
    assert.is(await run(killed, ac), false);
    assert.equal(outcome(killed), outcome(whole));
    for (const type of ['step', 'epoch', 'eval']) assert.equal(logged(killed, type), logged(whole, type), `${type} lines`);
    assert.equal(
      readdirSync(killed).filter((name) => name.endsWith('.tmp')),
      [],
      'half-written files were swept',
    );
  });

test.run();
