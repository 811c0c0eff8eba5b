// Options that say where and in which numbers a command computes, and the engine they stand for.
import { type Command, Option } from 'commander';
import { ArgumentError } from '../core/errors.js';
import { createEngine, type Engine, type EngineOptions } from '../engine/index.js';
import { integer, oneOf } from './options.js';

export interface DeviceOptions {
  threads?: number;
  device: 'cpu' | 'cuda';
  tf32?: boolean;
}

export type Precision = 'f32' | 'f16' | 'bf16';
export const PRECISIONS: readonly Precision[] = ['f32', 'f16', 'bf16'];
/** How the linear weights of a VAR may be stored. */
export const WEIGHT_DTYPES = [...PRECISIONS, 'int8'] as const;

export interface PrecisionOptions {
  precision: Precision;
}

/** Adds --threads, --device and --tf32. */
export function deviceOptions(command: Command): Command {
  return command
    .option('--threads <n>', 'threads of the engine (default: all cores)', integer('--threads', 1, 1024))
    .addOption(new Option('--device <name>', 'device of the engine').choices(['cpu', 'cuda']).default('cpu'))
    .option('--tf32', '(--device cuda) f32 products on tensor cores with 10 bits of mantissa: faster, less exact');
}

/** Adds --precision. */
export function precisionOption(command: Command): Command {
  return command.option(
    '--precision <dtype>',
    'activations, weights and caches: f32, f16 or bf16; on the CPU 16 bits save memory, not time',
    oneOf('--precision', PRECISIONS),
    'f32',
  );
}

/** Opens the engine that the options ask for. Throws ArgumentError, or UnsupportedError where the device is not there. */
export function openDevice({ device, threads, tf32 }: DeviceOptions, more: EngineOptions = {}): Promise<Engine> {
  if (tf32 && device !== 'cuda') throw new ArgumentError(`--tf32: cannot be combined with --device ${device}, it is for --device cuda`);
  return createEngine({ device, threads, tf32, ...more });
}

/** Where it computes, for people: 4 threads, or cuda. */
export const where = (engine: Engine): string => (engine.device === 'cpu' ? `${engine.threads} threads` : engine.device);
