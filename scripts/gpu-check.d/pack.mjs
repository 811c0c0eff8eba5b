// scripts/gpu-check pack [--out FILE] [--golden DIR] [--var DIR] [--addon FILE] [--bare]: one archive of what the machine with the GPU lacks.
// --var (default $VAR_REPO) adds the sources of the reference VAR for comparisons, --bare leaves Node and the headers out.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureAddon } from '../setup/native.mjs';
import { root } from '../setup/paths.mjs';
import { writeTree } from './tree.mjs';

const LIMIT_MB = 60;
const mb = (file) => statSync(file).size / 1e6;
const run = (command, args, options = {}) => execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });

/** The libraries a binary asks the loader for: name and path. */
function librariesOf(binary) {
  const lines = run('ldd', [binary]).split('\n');
  return lines.flatMap((line) => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}

function addNode(kit, cache) {
  mkdirSync(join(kit, 'bin'));
  const stripped = join(kit, 'bin', 'node');
  run('strip', ['-o', stripped, process.execPath]);
  mkdirSync(cache, { recursive: true });
  const packed = join(cache, `node-${process.version}-${process.arch}.tar.xz`);
  if (!existsSync(packed)) run('tar', ['-C', kit, '-cf', `${packed}.tmp`, '-I', 'xz -6 -T2', 'bin']);
  if (existsSync(`${packed}.tmp`)) run('mv', [`${packed}.tmp`, packed]);
  rmSync(join(kit, 'bin'), { recursive: true });
  return packed;
}

// Where the addon does not load there, it is compiled from the sources of the checkout and these.
function addHeaders(kit) {
  const headers = join(kit, 'headers');
  const hwy = ['/usr/include/hwy', '/usr/local/include/hwy', '/opt/homebrew/include/hwy'].find((folder) => existsSync(folder));
  if (hwy) cpSync(hwy, join(headers, 'hwy'), { recursive: true });
  for (const folder of ['node-addon-api', 'node-api-headers/include']) {
    const from = join(root, 'node_modules', folder);
    for (const name of readdirSync(from).filter((file) => file.endsWith('.h'))) {
      mkdirSync(join(headers, 'node'), { recursive: true });
      copyFileSync(join(from, name), join(headers, 'node', name));
    }
  }
}

// lib/ holds what the addon needs beside the C library; libc/ what a machine with an older one needs: used there by the loader of its own.
function addAddon(kit, addon, bare) {
  for (const folder of ['release', 'lib', 'libc']) mkdirSync(join(kit, folder));
  copyFileSync(addon, join(kit, 'release', 'nextscale.node'));
  for (const library of librariesOf(addon)) {
    if (/libhwy/.test(library)) copyFileSync(library, join(kit, 'lib', basename(library)));
  }
  if (bare) return;
  for (const library of new Set([...librariesOf(addon), ...librariesOf(process.execPath)]))
    copyFileSync(library, join(kit, 'libc', basename(library)));
}

function addReference(kit, folder) {
  for (const name of ['models', 'utils', 'dist.py']) {
    if (!existsSync(join(folder, name))) throw new Error(`${folder} is no checkout of FoundationVision/VAR: ${name} is not there`);
    const keep = (path) => !/__pycache__|\.pyc$/.test(path);
    cpSync(join(folder, name), join(kit, 'var', name), { recursive: true, filter: keep });
  }
}

function commit() {
  try {
    const dirty = run('git', ['status', '--porcelain', '--untracked-files=no'], { cwd: root }).trim() !== '';
    return run('git', ['rev-parse', '--short', 'HEAD'], { cwd: root }).trim() + (dirty ? '+' : '');
  } catch {
    return 'unknown';
  }
}

async function main() {
  const { values: o } = parseArgs({
    options: {
      out: { type: 'string', default: join(root, '.cache', 'gpu-check.tar') },
      golden: { type: 'string' },
      var: { type: 'string', default: process.env.VAR_REPO ?? '' },
      addon: { type: 'string', default: process.env.NEXTSCALE_ADDON ?? '' },
      bare: { type: 'boolean', default: false },
    },
  });
  const out = resolve(o.out);
  mkdirSync(dirname(out), { recursive: true });
  const kit = mkdtempSync(`${out}.`);
  try {
    const parts = [];
    if (!o.bare) parts.push(addNode(kit, join(root, '.cache', 'gpu-check-node')));
    if (!o.bare) addHeaders(kit);
    addAddon(kit, o.addon || (await ensureAddon(root)), o.bare);
    const sources = await writeTree(root, join(kit, 'js'));
    if (o.golden) cpSync(o.golden, join(kit, 'golden'), { recursive: true, dereference: true });
    if (o.var) addReference(kit, o.var);
    const manifest = { commit: commit(), node: o.bare ? null : process.version, golden: Boolean(o.golden), var: Boolean(o.var) };
    writeFileSync(join(kit, 'manifest.json'), `${JSON.stringify({ ...manifest, sources })}\n`);
    run('tar', ['-C', kit, '-cf', join(kit, 'kit.tar.xz'), '-I', 'xz -6 -T2', ...readdirSync(kit)]);
    for (const part of parts) copyFileSync(part, join(kit, basename(part)));
    run('tar', ['-C', kit, '-cf', `${out}.tmp`, 'kit.tar.xz', ...parts.map((part) => basename(part))]);
    const size = mb(`${out}.tmp`);
    if (size > LIMIT_MB) {
      rmSync(`${out}.tmp`);
      throw new Error(`the archive would have ${size.toFixed(1)} MB, more than ${LIMIT_MB}: give --golden fewer cases`);
    }
    run('mv', [`${out}.tmp`, out]);
    console.log(`${out}: ${size.toFixed(1)} MB, ${sources.length} sources, commit ${manifest.commit}`);
  } finally {
    rmSync(kit, { recursive: true, force: true });
  }
}

main().catch((error) => {
  console.error(`gpu-check pack: ${error.message}`);
  process.exitCode = 1;
});
