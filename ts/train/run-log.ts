// What a run writes beside its checkpoints: config.json, log.jsonl, log.txt, TensorBoard event files, samples/.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../checkpoint/index.js';
import { encodePng } from '../data/index.js';
import type { TrainEvent } from './events.js';
import { pythonLiteral } from './format.js';
import { LogFile } from './log-file.js';
import type { LogMarks } from './loop-state.js';
import type { Metrics, TaskImage } from './task.js';
import { EventWriter } from './tensorboard/writer.js';

export interface RunLogOptions {
  out: string;
  /** Where the logs are cut, and the iteration from which TensorBoard forgets, when the run is resumed. */
  resume?: { marks: LogMarks; gIt: number };
}

export class RunLog {
  private constructor(
    readonly out: string,
    private readonly jsonl: LogFile,
    private readonly txt: LogFile,
    readonly board: EventWriter,
  ) {}

  static async open({ out, resume }: RunLogOptions): Promise<RunLog> {
    await mkdir(out, { recursive: true });
    const opened: { close(): Promise<void> }[] = [];
    const kept = async <F extends { close(): Promise<void> }>(opening: Promise<F>): Promise<F> => {
      const file = await opening;
      opened.push(file);
      return file;
    };
    try {
      const jsonl = await kept(LogFile.open(join(out, 'log.jsonl'), resume?.marks.jsonl));
      const txt = await kept(LogFile.open(join(out, 'log.txt'), resume?.marks.txt));
      const board = await kept(EventWriter.open(out, resume && { purgeStep: resume.gIt }));
      await board.flush();
      return new RunLog(out, jsonl, txt, board);
    } catch (error) {
      for (const file of opened) await file.close().catch(() => undefined);
      throw error;
    }
  }

  /** To config.json, and as a text to TensorBoard. */
  async writeConfig(config: Record<string, unknown>, step = 0): Promise<void> {
    const text = JSON.stringify(config, null, 2);
    await writeWhole(join(this.out, 'config.json'), `${text}\n`);
    // four spaces: verbatim in Markdown
    this.board.text('config', text.replace(/^/gm, '    '), step);
  }

  /** First lines of log.txt: who writes here. */
  head(fields: Record<string, unknown>): void {
    if (this.txt.empty) this.txt.append(`${JSON.stringify(fields, null, 0)}\n`);
  }

  /** One line of log.jsonl. */
  event(event: TrainEvent): void {
    this.jsonl.append(`${JSON.stringify(event)}\n`);
  }

  /** One line of log.txt, a Python literal as the reference writes it. */
  dump(fields: Record<string, unknown>): void {
    this.txt.append(`${pythonLiteral(fields)}\n`);
  }

  scalars(values: Metrics, step: number): void {
    for (const [tag, value] of Object.entries(values)) this.board.scalar(tag, value, step);
  }

  async images(images: readonly TaskImage[], step: number): Promise<void> {
    if (images.length > 0) await mkdir(join(this.out, 'samples'), { recursive: true });
    for (const { tag, width, height, data } of images) {
      const png = await encodePng(data, width, height);
      this.board.image(tag, width, height, png, step);
      await writeWhole(join(this.out, 'samples', `${tag.replace(/[^\w-]+/g, '_')}-${String(step).padStart(4, '0')}.png`), png);
    }
  }

  /** Everything logged so far is with the system; the sizes belong into the checkpoint that follows. */
  async flush(): Promise<LogMarks> {
    const [jsonl, txt] = await Promise.all([this.jsonl.flush(), this.txt.flush(), this.board.flush()]);
    return { jsonl, txt };
  }

  /** The run goes back to where the marks were taken. */
  async rewind(marks: LogMarks, gIt: number): Promise<void> {
    await this.jsonl.truncate(marks.jsonl);
    await this.txt.truncate(marks.txt);
    this.board.purge(gIt);
  }

  async close(): Promise<void> {
    const results = await Promise.allSettled([this.jsonl.close(), this.txt.close(), this.board.close()]);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}
