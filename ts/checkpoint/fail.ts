import { CheckpointError } from '../core/errors.js';

/** Where in a checkpoint something is wrong. */
export interface Where {
  file: string;
  key?: string;
  offset?: number;
}

/** Throws the typed error of this folder; the message is prefixed with file, key and offset. */
export function fail(where: Where, message: string): never {
  throw checkpointError(where, message);
}

export function checkpointError(where: Where, message: string, cause?: unknown): CheckpointError {
  const at = [where.file];
  if (where.key !== undefined) at.push(`key ${quote(where.key)}`);
  if (where.offset !== undefined) at.push(`byte ${where.offset}`);
  return new CheckpointError(`${at.join(', ')}: ${message}`, { ...where, cause });
}

/** A name from a file as it may appear in a message: quoted, control characters escaped, shortened. */
export function quote(name: string): string {
  const short = name.length > 120 ? `${name.slice(0, 117)}...` : name;
  return JSON.stringify(short);
}
