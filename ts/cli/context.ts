// What a command gets: where results and progress go, and the signal that Ctrl-C aborts.

import type { Command } from 'commander';
import { Option } from 'commander';
import { Progress } from './progress.js';

export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

export interface CommonOptions {
  json?: boolean;
  quiet?: boolean;
}

/** Adds the switches every command has. */
export function common(command: Command): Command {
  return command
    .addOption(new Option('--json', 'print the result as JSON, no progress'))
    .addOption(new Option('-q, --quiet', 'no progress on stderr'))
    .showHelpAfterError('(--help shows the options)');
}

export class Context {
  readonly json: boolean;
  readonly silent: boolean;
  readonly started = performance.now();

  constructor(
    options: CommonOptions,
    readonly signal: AbortSignal,
  ) {
    this.json = options.json === true;
    this.silent = this.json || options.quiet === true;
  }

  /** The result: text for people, or the object as one line of JSON with --json. */
  result(data: unknown, text: string): void {
    process.stdout.write(this.json ? `${JSON.stringify(data)}\n` : text === '' || text.endsWith('\n') ? text : `${text}\n`);
  }

  /** Text for people only, on stdout. */
  print(text: string): void {
    if (!this.json) process.stdout.write(`${text}\n`);
  }

  /** A line about what is happening, on stderr. */
  note(line: string): void {
    if (!this.silent) process.stderr.write(`${line}\n`);
  }

  /** A line that matters even when progress is off (never with --json: there it is a field of the result). */
  warn(line: string): void {
    if (!this.json) process.stderr.write(`${paint('yellow', 'warning:', process.stderr)} ${line}\n`);
  }

  progress(label: string, total: number): Progress {
    return new Progress(label, total, this.silent);
  }

  /** Seconds since the command started. */
  seconds(): number {
    return (performance.now() - this.started) / 1000;
  }
}

const COLORS = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 } as const;

/** Colours text for a terminal; plain when the stream is not one, or NO_COLOR is set (https://no-color.org). */
export function paint(color: keyof typeof COLORS, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  const on = stream.isTTY && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  return on ? `\u001b[${COLORS[color]}m${text}\u001b[0m` : text;
}

/** Seconds as people read them. */
export function duration(seconds: number): string {
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/** Bytes as people read them. */
export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i === 0 ? n : n.toFixed(n < 10 ? 2 : 1)} ${units[i]}`;
}
