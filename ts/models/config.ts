import type { ZodType, ZodTypeDef } from 'zod';
import { checkOptions } from '../core/check.js';
import { ArgumentError } from '../core/errors.js';

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
