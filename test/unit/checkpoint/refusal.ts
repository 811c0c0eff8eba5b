import * as assert from 'uvu/assert';
import { CheckpointError } from '../../../ts/core/errors.js';

/** The CheckpointError a promise rejects with; anything else fails the test. */
export async function refusal(promise: Promise<unknown>): Promise<CheckpointError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof CheckpointError && error.cause === undefined) return error;
    if (error instanceof CheckpointError && /no such file/.test(error.message)) return error;
    throw error;
  }
  return assert.unreachable('expected a CheckpointError') as never;
}
