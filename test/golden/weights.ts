// Models of a golden case: the state dict is the disjoint union of the files that case.json lists.
import { join } from 'node:path';
import {
  type Checkpoint,
  type DType,
  type Engine,
  openCheckpoint,
  type Tensor,
  VAR,
  VQVAE,
  type WeightInfo,
  type WeightSource,
} from '../../ts/index.js';
import type { GoldenCase } from './kind.js';

class Union implements WeightSource {
  readonly path: string;
  private readonly owner = new Map<string, Checkpoint>();

  constructor(parts: readonly Checkpoint[]) {
    this.path = parts.map((part) => part.path).join(' + ');
    for (const part of parts)
      for (const key of part.keys()) {
        if (this.owner.has(key)) throw new Error(`${key} is in two files: ${this.path}`);
        this.owner.set(key, part);
      }
  }

  keys(): Iterable<string> {
    return this.owner.keys();
  }

  has(key: string): boolean {
    return this.owner.has(key);
  }

  info(key: string): WeightInfo {
    return this.part(key).info(key);
  }

  load(engine: Engine, key: string, options?: { dtype?: DType }): Tensor {
    return this.part(key).load(engine, key, options);
  }

  private part(key: string): Checkpoint {
    const part = this.owner.get(key);
    if (!part) throw new Error(`no tensor ${key} in ${this.path}`);
    return part;
  }
}

/** The state dict of weights.<model> of case.json. */
export async function union(c: GoldenCase, model: string): Promise<WeightSource> {
  const files = c.json.weights?.[model];
  if (!files) throw new Error(`${c.name}: case.json lists no weights.${model}`);
  return new Union(await Promise.all(files.map((file) => openCheckpoint(join(c.dir, file), { root: '' }))));
}

const camel = (name: string) => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

/** config.<model> of case.json under the names of the API. */
export function configOf(c: GoldenCase, model: string): Record<string, unknown> {
  return Object.fromEntries(Object.entries(c.json.config[model] as Record<string, unknown>).map(([name, value]) => [camel(name), value]));
}

export async function loadVqvae(c: GoldenCase, engine: Engine): Promise<VQVAE> {
  return await VQVAE.load(engine, await union(c, 'vae'), configOf(c, 'vae'));
}

export async function loadVar(c: GoldenCase, engine: Engine, vqvae: VQVAE): Promise<VAR> {
  return await VAR.load(engine, await union(c, 'var'), { vqvae, config: configOf(c, 'var') });
}
