// What the machine says about itself; nothing is set.
import { cpus } from 'node:os';
import { capture } from '../setup/exec.mjs';

const FIELDS = {
  device: 'name',
  computeCapability: 'compute_cap',
  driver: 'driver_version',
  memoryMiB: 'memory.total',
  powerLimitW: 'power.limit',
  powerW: 'power.draw',
  smClockMHz: 'clocks.sm',
  smClockMaxMHz: 'clocks.max.sm',
  memoryClockMHz: 'clocks.mem',
  temperatureC: 'temperature.gpu',
  throttle: 'clocks_throttle_reasons.active',
};

export function nvcc() {
  const names = [process.env.CUDACXX, 'nvcc', '/usr/local/cuda/bin/nvcc'];
  return names.find((name) => name && capture(name, ['--version']) !== null);
}

/** The first GPU as nvidia-smi tells it now, or for the emulation the CPU. */
export function machine(emulated) {
  const host = { cpu: cpus()[0]?.model ?? '', cores: cpus().length };
  if (emulated) return { device: 'emulated on the host', ...host };
  const facts = {};
  for (const [key, field] of Object.entries(FIELDS)) {
    const value = capture('nvidia-smi', [`--query-gpu=${field}`, '--format=csv,noheader,nounits', '-i', '0'])?.trim();
    if (value) facts[key] = /^-?\d+(\.\d+)?$/.test(value) && key !== 'computeCapability' && key !== 'driver' ? Number(value) : value;
  }
  const compiler = nvcc();
  const release = compiler && /release ([\d.]+)/.exec(capture(compiler, ['--version']) ?? '')?.[1];
  return { ...facts, cuda: release ?? 'no nvcc', ...host };
}

/** What nvcc compiles for: the architecture of the first GPU. */
export function architecture(facts) {
  const digits = String(facts.computeCapability ?? '').replace('.', '');
  if (!/^\d{2,3}$/.test(digits)) throw new Error(`nvidia-smi gives no compute capability (${JSON.stringify(facts)})`);
  return `${digits}-real`;
}
