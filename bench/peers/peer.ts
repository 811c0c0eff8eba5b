// A peer in a process of its own that answers one request at a time, and the record of a comparison.
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface Answer {
  seconds: number;
  decoder?: number;
  tokens?: number[][];
  peakBytes?: number;
  torch?: string;
}

/** One of the Python scripts of this folder, one request at a time. */
export class Peer {
  private readonly lines: AsyncIterator<string>;
  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static async start(python: string, script: string, args: string[]): Promise<{ peer: Peer; torch: string }> {
    const file = join(dirname(fileURLToPath(import.meta.url)), script);
    const child = spawn(python, [file, ...args], { stdio: ['pipe', 'pipe', 'inherit'] }) as unknown as ChildProcessWithoutNullStreams;
    const peer = new Peer(child);
    return { peer, torch: (await peer.next()).torch ?? '?' };
  }

  async ask(request: object): Promise<Answer> {
    this.child.stdin.write(`${JSON.stringify(request)}\n`);
    return await this.next();
  }

  stop(): void {
    this.child.stdin.end();
  }

  private async next(): Promise<Answer> {
    const line = await this.lines.next();
    if (line.done) throw new Error('the reference ended early; its messages are above');
    return JSON.parse(line.value) as Answer;
  }
}

const sorted = (v: number[]): number[] => [...v].sort((a, b) => a - b);
const median = (v: number[]): number => sorted(v)[Math.floor(v.length / 2)]!;

/** Appends minimum, median, maximum of both sides and the ratio of the medians to `out`, and prints the latter. */
export function record(out: string, job: string, ours: number[], theirs: number[], extra: object): void {
  const side = (v: number[]) => ({ min: sorted(v)[0], median: median(v), max: sorted(v).at(-1) });
  const ratio = median(theirs) / median(ours);
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim();
  const row = { job, ratio, ours: side(ours), theirs: side(theirs), device: cpus()[0]?.model, commit, ...extra };
  mkdirSync(dirname(out), { recursive: true });
  appendFileSync(out, `${JSON.stringify(row)}\n`);
  process.stdout.write(`${job}: ${median(ours).toFixed(3)} s, peer ${median(theirs).toFixed(3)} s, ${ratio.toFixed(2)} times faster\n`);
}

export async function clock<T>(work: () => Promise<T>): Promise<[number, T]> {
  const start = performance.now();
  const value = await work();
  return [(performance.now() - start) / 1000, value];
}
