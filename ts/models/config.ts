import type { ZodType, ZodTypeDef } from 'zod';
import { checkOptions } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';
import type { WeightSource } from '../nn/index.js';

/** Metadata of exported weights: the model's configuration as JSON, names of the classes as a JSON list. */
export const CONFIG_KEY = 'nextscale.config';
export const CLASSES_KEY = 'nextscale.classes';

/** Parses a configuration of the fields of `known`; the error lists every offending field with what was given. */
export function parseConfig<T extends object>(what: string, schema: ZodType<T, ZodTypeDef, unknown>, value: unknown, known: T): T {
  checkOptions(what, value, Object.keys(known));
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const at = (path: readonly (string | number)[]) =>
    path.reduce<unknown>((v, key) => (v as Record<string | number, unknown> | undefined)?.[key], value);
  const lines = result.error.issues.map(
    (issue) =>
      `${issue.path.join('.') || 'value'}: ${issue.message}${issue.path.length ? `, given ${JSON.stringify(at(issue.path))}` : ''}`,
  );
  throw new ArgumentError(`${what}: ${lines.join('; ')}`);
}

/** Those of the named fields that the metadata of a file tells; what cannot be read there tells nothing. */
export function toldConfig<T extends object>({ metadata }: WeightSource, names: readonly (keyof T & string)[]): Partial<T> {
  const text = metadata?.[CONFIG_KEY];
  if (text === undefined) return {};
  try {
    const config = JSON.parse(text) as Record<string, unknown> | null;
    return Object.fromEntries(names.flatMap((name) => (config?.[name] === undefined ? [] : [[name, config[name]]]))) as Partial<T>;
  } catch {
    return {};
  }
}
