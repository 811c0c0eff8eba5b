// nextscale doctor: what is there, what is missing, and the exact command that cures it.
import { existsSync } from 'node:fs';
import { Command } from 'commander';
import { addonPath, type NativeInfo } from '../engine/index.js';
import { bytes, type CommonOptions, Context, common, EXIT, paint } from './context.js';
import { cores, cpu, freeDisk, glibc, memory, tools } from './doctor-host.js';
import { byVersion, cuda, needs, probe, ROOT } from './doctor-native.js';

interface Finding {
  name: string;
  /** ok: fine; note: works without it; bad: generation cannot work */
  state: 'ok' | 'note' | 'bad';
  text: string;
  cure?: string;
  data?: unknown;
}

interface EngineAnswer {
  device: string;
  threads: number;
  describe: unknown;
  correct: boolean;
}

const MIN_NODE = '20.19.0';
const APT = 'sudo apt-get install -y cmake g++ make libhwy-dev';

function checkNode(): Finding {
  const version = process.versions.node;
  const { npm } = tools();
  const text = `Node ${version}${npm ? `, npm ${npm}` : ''}, Node-API ${process.versions.napi}, ${process.platform}-${process.arch}, ${glibc() ? `glibc ${glibc()}` : 'no glibc'}`;
  const data = {
    node: version,
    napi: process.versions.napi,
    platform: process.platform,
    arch: process.arch,
    glibc: glibc(),
    npm,
  };
  if (byVersion(version, MIN_NODE) >= 0) return { name: 'node', state: 'ok', text, data };
  return { name: 'node', state: 'bad', text: `${text}: too old`, cure: `install Node ${MIN_NODE} or newer`, data };
}

function checkCpu(): Finding[] {
  const c = cpu();
  const n = cores();
  const limit = n.cgroupLimit === undefined ? 'no cgroup limit' : `cgroup limit ${n.cgroupLimit}`;
  const few = n.usable < n.cores ? ` of ${n.cores}` : '';
  return [
    { name: 'cpu', state: 'ok', text: `${c.model}: ${c.features.join(' ') || 'baseline instructions only'}`, data: c },
    { name: 'cores', state: 'ok', text: `${n.usable}${few} usable (${limit})`, data: n },
  ];
}

function checkMemory(): Finding[] {
  const m = memory();
  const disk = freeDisk(process.cwd());
  const limit = m.limit ? `, limit ${bytes(m.limit)}` : '';
  const small = m.available < 3 * 2 ** 30;
  const cure = small ? 'VAR-d16 in f32 needs about 2.2 GiB: close programs, or use --dtype f16' : undefined;
  return [
    { name: 'memory', state: small ? 'note' : 'ok', text: `${bytes(m.available)} available of ${bytes(m.total)}${limit}`, cure, data: m },
    { name: 'disk', state: 'ok', text: disk === undefined ? 'free space unknown' : `${bytes(disk)} free here`, data: { free: disk } },
  ];
}

function checkTools(): Finding {
  const t = tools();
  const missing = [t.cmake ? '' : 'cmake', t.gxx ? '' : 'g++', t.hwy ? '' : 'libhwy-dev'].filter(Boolean);
  const text = missing.length ? `${missing.join(', ')} not found (needed to build from source)` : `${t.cmake}; ${t.gxx}`;
  return { name: 'build tools', state: missing.length ? 'note' : 'ok', text, ...(missing.length ? { cure: APT } : {}), data: t };
}

async function checkAddon(signal: AbortSignal): Promise<Finding> {
  const file = addonPath();
  if (!existsSync(file))
    return { name: 'addon', state: 'bad', text: `not built: ${file} does not exist`, cure: `cd ${ROOT} && npm run build` };
  const need = needs(file);
  const text = `${file} (needs glibc ${need.glibc ?? 'none'}, GLIBCXX ${need.glibcxx ?? 'none'})`;
  const loaded = await probe<NativeInfo>(['addon', file], signal);
  if (loaded.ok) return { name: 'addon', state: 'ok', text, data: { file, needs: need, ...loaded.value } };
  return {
    name: 'addon',
    state: 'bad',
    text: `${text} does not load: ${loaded.error}`,
    cure: rebuild(loaded.error),
    data: { file, needs: need },
  };
}

function rebuild(error = ''): string {
  const why = /GLIBC|version `/.test(error)
    ? ' (it was built on a newer system)'
    : /SIGILL|ELF|invalid/.test(error)
      ? ' (it was built for another machine)'
      : '';
  return `cd ${ROOT} && rm -rf build && npm run build${why}`;
}

async function checkEngine(signal: AbortSignal, addon: NativeInfo | undefined): Promise<Finding> {
  const run = await probe<EngineAnswer>(['engine'], signal);
  if (!run.ok || !run.value) return { name: 'engine', state: 'bad', text: `does not run: ${run.error}`, cure: rebuild(run.error) };
  const { value } = run;
  const described = JSON.stringify(value.describe);
  if (!value.correct)
    return { name: 'engine', state: 'bad', text: `computes wrong results on ${described}`, cure: rebuild('SIGILL'), data: value };
  const target = addon?.targets[0] ?? described;
  return { name: 'engine', state: 'ok', text: `${value.device}, ${value.threads} threads, SIMD target ${target}`, data: value };
}

async function checkSharp(signal: AbortSignal): Promise<Finding> {
  const run = await probe<{ versions: Record<string, string>; correct: boolean }>(['sharp'], signal);
  if (run.ok && run.value?.correct) {
    return { name: 'sharp', state: 'ok', text: `sharp ${run.value.versions.sharp}, libvips ${run.value.versions.vips}`, data: run.value };
  }
  const cure = `cd ${ROOT} && npm install --include=optional sharp`;
  return { name: 'sharp', state: 'bad', text: `the image library does not work: ${run.error ?? 'wrong result'}`, cure };
}

interface Gpu {
  gpu: string;
  arch: string;
  memoryBytes: number;
  driver: string;
  runtime: string;
  emulated?: boolean;
}

// A GPU that cannot be used is no reason to stop: everything runs on the CPU.
async function checkCuda(signal: AbortSignal, addon: NativeInfo | undefined): Promise<Finding> {
  const c = cuda(addon);
  const there = [c.gpus, c.nvcc && `nvcc ${c.nvcc}`, c.plugin && `plug-in ${c.plugin}`].filter(Boolean).join(', ');
  const unused = (reason: string | undefined): Finding => ({
    name: 'cuda',
    state: 'note',
    text: `not used: ${reason}${there ? ` (found: ${there})` : ''}; the CPU is used`,
    data: { usable: false, ...c, reason },
  });
  if (!c.found) return unused(c.reason);
  const run = await probe<EngineAnswer>(['cuda'], signal);
  if (!run.ok || !run.value) return unused(run.error);
  if (!run.value.correct) return unused(`it computes wrong results on ${JSON.stringify(run.value.describe)}`);
  const gpu = run.value.describe as Gpu;
  const text = `${gpu.gpu} (${gpu.arch}, ${bytes(gpu.memoryBytes)}), driver for CUDA ${gpu.driver}, runtime ${gpu.runtime}, plug-in ${c.plugin}`;
  const data = { usable: !gpu.emulated, ...c, device: gpu };
  if (gpu.emulated) return { name: 'cuda', state: 'note', text: `${text}: emulated on the CPU, for tests of the kernels only`, data };
  return { name: 'cuda', state: 'ok', text, data };
}

const MARKS = { ok: ['green', 'ok  '], note: ['yellow', 'note'], bad: ['red', 'BAD '] } as const;

function render(findings: readonly Finding[], works: boolean): string {
  const lines = findings.flatMap((f) => {
    const [color, mark] = MARKS[f.state];
    return [`${paint(color, mark)} ${f.name.padEnd(12)} ${f.text}`, ...(f.cure ? [`${' '.repeat(18)}-> ${f.cure}`] : [])];
  });
  return [
    ...lines,
    '',
    works ? 'Generation works on this machine.' : 'Generation cannot work here until the lines marked BAD are cured.',
  ].join('\n');
}

export function doctorCommand(signal: AbortSignal): Command {
  return common(new Command('doctor'))
    .description('Check this machine: versions, processor, memory, addon, image library, CUDA; exit code 1 when generation cannot work.')
    .addHelpText('after', '\nExample:\n  nextscale doctor --json')
    .action(async (options: CommonOptions) => {
      const ctx = new Context(options, signal);
      const [addon, image] = await Promise.all([checkAddon(signal), checkSharp(signal)]);
      const about = addon.data as NativeInfo | undefined;
      const engine = await checkEngine(signal, about?.targets ? about : undefined);
      signal.throwIfAborted();
      const findings = [
        checkNode(),
        ...checkCpu(),
        ...checkMemory(),
        checkTools(),
        addon,
        engine,
        image,
        await checkCuda(signal, about?.backends ? about : undefined),
      ];
      const works = findings.every((f) => f.state !== 'bad');
      ctx.result({ works, findings }, render(findings, works));
      if (!works) process.exitCode = EXIT.failure;
    });
}
