#!/usr/bin/env node
// The command line: parses, runs one command, and turns what went wrong into a message and an exit code.
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './bench.js';
import { EXIT, paint } from './context.js';
import { convertCommand } from './convert.js';
import { dataCommand } from './data.js';
import { demoCommand } from './demo.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { finetuneCommand } from './finetune.js';
import { generateCommand } from './generate.js';
import { initCommand } from './init.js';
import { inspectCommand } from './inspect.js';
import { interruptible } from './interrupt.js';
import { reconstructCommand } from './reconstruct.js';
import { tokenizeCommand } from './tokenize.js';
import { trainCommand } from './train.js';

export function version(): string {
  return (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }).version;
}

function program(signal: AbortSignal): Command {
  const root = new Command('nextscale')
    .description('Visual autoregressive models (VAR): tokenise, reconstruct and generate images.')
    .version(version(), '-V, --version')
    .showSuggestionAfterError()
    .showHelpAfterError('(nextscale --help lists the commands)')
    .addHelpText('after', '\nExample:\n  nextscale generate --vae vae_ch160v4096z32.pth --var var_d16.pth --labels 207x4 --out dogs.png');
  const commands = [generateCommand, tokenizeCommand, reconstructCommand, inspectCommand, convertCommand, initCommand, trainCommand];
  for (const make of [...commands, finetuneCommand, evalCommand, dataCommand, doctorCommand, benchCommand, demoCommand])
    root.addCommand(make(signal));
  for (const command of [root, ...root.commands]) command.exitOverride().showSuggestionAfterError();
  return root;
}

function exitCode(error: unknown, signal: AbortSignal): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const { code, name } = error as { code?: string; name?: string };
  if (signal.aborted || name === 'AbortError') return EXIT.interrupted;
  return code === 'ERR_ARGUMENT' || name === 'ArgumentError' ? EXIT.usage : EXIT.failure;
}

function report(error: unknown, code: number, json: boolean): void {
  if (error instanceof CommanderError) {
    // commander has printed its own message already, except as JSON
    if (json && code !== EXIT.ok)
      process.stdout.write(`${JSON.stringify({ error: { name: 'UsageError', code: error.code, message: error.message } })}\n`);
    return;
  }
  const e = error instanceof Error ? error : new Error(String(error));
  const message = code === EXIT.interrupted ? 'cancelled' : e.message;
  if (json) process.stdout.write(`${JSON.stringify({ error: { name: e.name, code: (e as { code?: string }).code, message } })}\n`);
  const detail = process.env.NEXTSCALE_DEBUG ? `\n${e.stack}` : '';
  process.stderr.write(`${paint('red', code === EXIT.interrupted ? 'nextscale:' : 'error:', process.stderr)} ${message}${detail}\n`);
}

// A reader that went away (nextscale inspect FILE | head) is not an error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (e: NodeJS.ErrnoException) => {
    if (e.code === 'EPIPE') process.exit(EXIT.ok);
    throw e;
  });
}

const signal = interruptible();
try {
  await program(signal).parseAsync();
} catch (error) {
  const code = exitCode(error, signal);
  report(error, code, process.argv.includes('--json'));
  process.exitCode = code;
}
