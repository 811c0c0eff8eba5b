// Rows of results: one JSON line each, with what they were measured on.
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Engine } from '../../ts/engine/index.js';

function quiet(command: string, args: readonly string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

const gpu = (fields: string): string[] =>
  quiet('nvidia-smi', [`--query-gpu=${fields}`, '--format=csv,noheader,nounits', '-i', '0']).split(', ');

export interface Machine {
  readonly device: string;
  readonly driver: string;
  readonly commit: string;
}

export function machineOf(engine: Engine): Machine {
  const [name, driver] = gpu('name,driver_version');
  const commit = process.env.NEXTSCALE_COMMIT || quiet('git', ['rev-parse', '--short', 'HEAD']) || 'unknown';
  return engine.describe().emulated === true || !name
    ? { device: 'emulated', driver: '', commit }
    : { device: name, driver: driver ?? '', commit };
}

/** Clock in MHz, power in W, degrees C at this moment. */
export function stateOf(): { smClockMHz: number; powerW: number; temperatureC: number } | undefined {
  const [clock, power, temperature] = gpu('clocks.sm,power.draw,temperature.gpu').map(Number);
  return clock ? { smClockMHz: clock, powerW: power!, temperatureC: temperature! } : undefined;
}

export class Results {
  constructor(
    private readonly out: string | undefined,
    private readonly machine: Machine,
  ) {}

  add(row: object, line: string): void {
    process.stdout.write(`${line}\n`);
    if (!this.out) return;
    mkdirSync(dirname(this.out), { recursive: true });
    appendFileSync(this.out, `${JSON.stringify({ ...row, ...this.machine, state: stateOf() })}\n`);
  }
}
