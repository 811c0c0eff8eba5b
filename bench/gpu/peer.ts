// One of the PyTorch scripts of this folder in a process of its own, one JSON line each way per request.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface Answer {
  readonly seconds: number;
  /** Why the peer has no such call. */
  readonly missing?: string;
  readonly peakBytes?: number;
  /** Seconds of the decoder. */
  readonly decoder?: number;
  readonly torch?: string;
}

export class Peer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly lines: AsyncIterator<string>,
    readonly version: string,
  ) {}

  static async start(python: string, folder: string, script: string, smoke: boolean): Promise<Peer> {
    const child = spawn(python, [join(folder, script), ...(smoke ? ['--smoke'] : [])], { stdio: ['pipe', 'pipe', 'inherit'] });
    child.stdin.on('error', () => {});
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { torch } = await answer(lines, script);
    return new Peer(child, lines, torch ?? '?');
  }

  async ask(request: object): Promise<Answer> {
    this.child.stdin?.write(`${JSON.stringify(request)}\n`);
    return await answer(this.lines, this.child.spawnargs[1] ?? 'the peer');
  }

  stop(): void {
    this.child.stdin?.end();
  }
}

async function answer(lines: AsyncIterator<string>, script: string): Promise<Answer> {
  const line = await lines.next();
  if (line.done) throw new Error(`${script} ended early; its messages are above`);
  return JSON.parse(line.value) as Answer;
}
