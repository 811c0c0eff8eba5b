// The definition that an op is measured by: test/reference/<op>.ts, or on CUDA its own layout of packed weights.
import { existsSync } from 'node:fs';
import { extname } from 'node:path';
import * as assert from 'uvu/assert';
import type { Reference } from '../reference/kit.js';
import { CUDA_LAYOUT } from './cuda-layout.js';
import { device } from './device.js';

export async function referenceOf(name: string): Promise<Reference> {
  if (device === 'cuda' && CUDA_LAYOUT[name]) return CUDA_LAYOUT[name];
  const url = new URL(`../reference/${name}${extname(import.meta.url)}`, import.meta.url);
  assert.ok(existsSync(url), `op ${name} has no reference definition: test/reference/${name}.ts`);
  return ((await import(url.href)) as { default: Reference }).default;
}
