import { readFile } from 'node:fs/promises';
import { ArgumentError } from '../../core/errors.js';

/** Options of a JSON file. */
export async function readConfig(path: string, option = '--config'): Promise<Record<string, unknown>> {
  const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new ArgumentError(`${option}: cannot read '${path}' (${error.code}), accepted: a JSON file of options`);
  });
  try {
    return JSON.parse(content) as Record<string, unknown>;
  } catch (error) {
    throw new ArgumentError(`${option}: '${path}' is not valid JSON (${(error as Error).message})`);
  }
}
