import { NextscaleError } from '../core/errors.js';

/** Skipped steps in a row came back after every rewind. */
export class DivergedError extends NextscaleError {
  constructor(message: string) {
    super('ERR_DIVERGED', message);
  }
}
