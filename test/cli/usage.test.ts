// driver: timeout=300
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { json, nextscale } from './support.js';

const COMMANDS = ['generate', 'tokenize', 'reconstruct', 'inspect', 'convert', 'init', 'doctor', 'bench', 'demo'];

test('--version is the package version, --help lists every command', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string };
  assert.is((await nextscale(['--version'])).stdout.trim(), version);
  const help = await nextscale(['--help']);
  assert.is(help.code, 0);
  for (const name of COMMANDS) assert.match(help.stdout, new RegExp(`^ +${name} `, 'm'));
});

test('every command explains itself with an example and knows --json and --quiet', async () => {
  for (const name of COMMANDS) {
    const { code, stdout } = await nextscale([name, '--help']);
    assert.is(code, 0);
    assert.match(stdout, new RegExp(`Examples?:\n +nextscale ${name}`));
    assert.match(stdout, /--json/);
    assert.match(stdout, /--quiet/);
  }
});

test('unknown flags and commands are errors with a suggestion', async () => {
  const flag = await nextscale(['generate', '--sed', '1']);
  assert.is(flag.code, 2);
  assert.match(flag.stderr, /unknown option '--sed'[\s\S]*--seed/);
  const idle = await nextscale(['tokenize', '--vae', 'vae.pth', '--out', 'tokens.json', '--dtype', 'f16', 'photo.jpg']);
  assert.is(idle.code, 2, 'an option without effect on the VQVAE is refused');
  assert.match(idle.stderr, /unknown option '--dtype'/);
  const command = await nextscale(['generat']);
  assert.is(command.code, 2);
  assert.match(command.stderr, /unknown command 'generat'[\s\S]*generate/);
  const nothing = await nextscale(['inspect']);
  assert.is(nothing.code, 2);
  const extra = await nextscale(['doctor', 'now']);
  assert.is(extra.code, 2);
});

test('errors are JSON with --json', async () => {
  const usage = await nextscale(['generate', '--sed', '1', '--json']);
  assert.is(usage.code, 2);
  assert.match((JSON.parse(usage.stdout) as { error: { message: string } }).error.message, /--sed/);
  const failure = await nextscale(['inspect', '/nonexistent.pth', '--json']);
  assert.is(failure.code, 1);
  assert.is((JSON.parse(failure.stdout) as { error: { name: string } }).error.name, 'CheckpointError');
});

test('options that contradict each other are refused before anything is loaded', async () => {
  const cases: readonly [string[], RegExp][] = [
    [['bench', 'calls', '--device', 'cuda'], /--device cuda.*calls/],
    [['demo', '--tf32'], /--tf32.*--device cpu/],
    [
      ['generate', '--vae', 'none.pth', '--var', 'none.pth', '--labels', '1', '--random', '2'],
      /--random: cannot be combined with --labels/,
    ],
    [['generate', '--init', 'tiny', '--patch-nums', '1_2'], /--patch-nums: cannot be combined with --init/],
    [['generate', '--init', 'tiny', '--vae', 'x.pth'], /--init: cannot be combined with --vae or --var/],
    [['reconstruct', '--init', 'tiny', '--tokens', 'x.png'], /--tokens: got 'x.png', accepted: .*safetensors or .json/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await nextscale(args);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.not.match(stderr, /warning/);
  }
});

interface Finding {
  name: string;
  state: 'ok' | 'note' | 'bad';
  text: string;
  cure?: string;
}

test('doctor finds everything needed on a machine that builds this', async () => {
  const d = await json<{ works: boolean; findings: Finding[] }>(['doctor']);
  assert.ok(d.works, JSON.stringify(d.findings.filter((f) => f.state === 'bad')));
  for (const name of ['node', 'cpu', 'cores', 'memory', 'addon', 'engine', 'sharp', 'cuda'])
    assert.ok(d.findings.some((f) => f.name === name));
  assert.match(d.findings.find((f) => f.name === 'engine')!.text, /SIMD target/);
});

test('doctor ends with 1 and the cure when the addon is missing or crashes', async () => {
  const missing = await nextscale(['doctor', '--json'], { env: { NEXTSCALE_ADDON: '/nonexistent/nextscale.node' } });
  assert.is(missing.code, 1);
  const bad = (JSON.parse(missing.stdout) as { findings: Finding[] }).findings.filter((f) => f.state === 'bad');
  assert.ok(bad.some((f) => f.name === 'addon' && /npm run build/.test(f.cure ?? '')));
  const elf = await nextscale(['doctor'], { env: { NEXTSCALE_ADDON: new URL('../../package.json', import.meta.url).pathname } });
  assert.is(elf.code, 1);
  assert.match(elf.stdout, /BAD +addon[\s\S]*-> /);
});

test('bench prints the peak and a line per case', async () => {
  const { code, stdout, stderr } = await nextscale([
    'bench',
    '--filter',
    '^embedding|^interpolate',
    '--rounds',
    '2',
    '--min-ms',
    '1',
    '--json',
  ]);
  assert.is(code, 0, stderr);
  const lines = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number | string>);
  assert.equal(
    lines.map((l) => l.bench),
    ['peak', 'op', 'op'],
  );
  assert.ok(Number(lines[0]!.gflops) > 1 && Number(lines[0]!.gbs) > 0.5);
  for (const l of lines.slice(1)) {
    assert.ok(Number(l.min) > 0 && Number(l.min) <= Number(l.median) && Number(l.median) <= Number(l.max));
    assert.ok(Number(l.floor) > 0);
    assert.ok(l.device === 'cpu' && l.cpu && 'commit' in l);
  }
  const none = await nextscale(['bench', '--filter', 'no such op']);
  assert.is(none.code, 2);
});

test('bench measures whole jobs and calls', async () => {
  const job = await json<{ name: string; median: number; decodeMs: number }>(['bench', 'generate', '--init', 'tiny', '--rounds', '2']);
  assert.ok(job.name === 'generate' && job.median > 0 && job.decodeMs > 0);
  const calls = await nextscale(['bench', 'calls', '--filter', 'fill', '--rounds', '1', '--json']);
  assert.is(calls.code, 0, calls.stderr);
  assert.ok((JSON.parse(calls.stdout) as { median: number }).median > 0);
});

test('colours only on a terminal', async () => {
  const { stdout } = await nextscale(['doctor'], { env: { NO_COLOR: '1' } });
  assert.not.ok(stdout.includes('\u001b['));
});

test.run();
