// Ctrl-C: the first one aborts the running command, which then ends by itself; the second one ends the process at once.
import { setMaxListeners } from 'node:events';
import { EXIT } from './context.js';

export function interruptible(): AbortSignal {
  const controller = new AbortController();
  // every piece of work under way listens
  setMaxListeners(0, controller.signal);
  const stop = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    process.stderr.write(`\n${name === 'SIGINT' ? 'Interrupted' : 'Terminated'}: stopping (once more ends it at once)\n`);
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  return controller.signal;
}
