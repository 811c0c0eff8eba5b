import type { BatchSource } from '../data/index.js';
import type { Reporter } from './reporter.js';

/** Warns of every image that could not be used, once. */
export class SkippedImages {
  private readonly told = new Set<string>();

  constructor(private readonly sources: readonly (BatchSource | undefined)[]) {}

  tell(reporter: Reporter): void {
    for (const source of this.sources)
      for (const [name, why] of source?.skipped ?? []) {
        if (this.told.has(name)) continue;
        this.told.add(name);
        reporter.warn('data', `${name}: ${why}; another image stands in its place`);
      }
  }
}
