import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { blocksOf, commandsOf, kindOf, setupProblem } from './blocks.js';

const test = suite('blocks of a document');

test('fences give language, line and text', () => {
  const found = blocksOf('a\n```sh\nx\n```\n````md\n```ts\ny\n```\n````\n```\nz\n```\n');
  assert.equal(found, [
    { language: 'sh', line: 2, text: 'x\n' },
    { language: 'md', line: 5, text: '```ts\ny\n```\n' },
    { language: '', line: 10, text: 'z\n' },
  ]);
  assert.throws(() => blocksOf('```sh\nx\n'), 'never closed');
});

test('commands are lines without comments, continued lines joined', () => {
  assert.equal(commandsOf('# a\nnextscale x \\\n  --y 1 # z\n\n'), ['nextscale x --y 1']);
});

test('what runs, what is set-up, what is only shown', () => {
  const kind = (language: string, text: string) => kindOf({ language, text, line: 1 });
  assert.is(kind('sh', 'npm run demo\nnpm test\n'), 'setup');
  assert.is(kind('sh', 'npm install nextscale\nnextscale doctor\n'), 'sh');
  assert.is(kind('ts', ''), 'ts');
  assert.is(kind('text', ''), 'shown');
  assert.is(kind('', ''), 'unlabelled');
});

test('set-up commands name scripts and packages that exist', () => {
  const manifest = { name: 'nextscale', scripts: { test: 'x', demo: 'y', golden: 'z' } };
  for (const line of ['npm test', 'npm run demo', 'npm run --silent golden -- DIR', 'npm install nextscale', 'npm ci'])
    assert.is(setupProblem(line, manifest), null, line);
  for (const line of ['npm run dmeo', 'npm start', 'npm install nextscael']) assert.ok(setupProblem(line, manifest), line);
});

test.run();
