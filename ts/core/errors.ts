/** Base of every error this library throws on purpose; `code` is stable, the message is for people. */
export class NextscaleError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

/** An argument or option that is not accepted; the message names it, what was given and what is accepted. */
export class ArgumentError extends NextscaleError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_ARGUMENT', message, options);
  }
}

/** Shapes that do not fit the op or each other. */
export class ShapeError extends NextscaleError {
  constructor(message: string) {
    super('ERR_SHAPE', message);
  }
}

/** A dtype the op does not take. */
export class DTypeError extends NextscaleError {
  constructor(message: string) {
    super('ERR_DTYPE', message);
  }
}

/** Use of a tensor, scope or model after its dispose. */
export class DisposedError extends NextscaleError {
  constructor(message: string) {
    super('ERR_DISPOSED', message);
  }
}

export interface LateErrorInfo {
  /** Op that failed. */
  readonly op: string;
  /** Number of the failing command in program order, from 1. */
  readonly command: number;
  /** Inputs and outputs of the failing command. */
  readonly shapes: string;
}

/** A late error: the op failed on the device after the call had returned. */
export class EngineError extends NextscaleError implements LateErrorInfo {
  readonly op: string;
  readonly command: number;
  readonly shapes: string;
  constructor(message: string, info: LateErrorInfo, code = 'ERR_ENGINE') {
    super(code, message);
    this.op = info.op;
    this.command = info.command;
    this.shapes = info.shapes;
  }
}

/** The device or the host has no memory left, even after cached blocks were dropped. */
export class OutOfMemoryError extends EngineError {
  constructor(message: string, info: LateErrorInfo) {
    super(message, info, 'ERR_OUT_OF_MEMORY');
  }
}

export class EngineClosedError extends NextscaleError {
  constructor(message = 'the engine is closed') {
    super('ERR_ENGINE_CLOSED', message);
  }
}

/** More work is queued than the engine's hard limit; await engine.throttle() or raise the option the message names. */
export class BusyError extends NextscaleError {
  constructor(message: string) {
    super('ERR_BUSY', message);
  }
}

/** A checkpoint that cannot be read or does not fit; names file and, where known, key and byte offset. */
export class CheckpointError extends NextscaleError {
  readonly file: string;
  readonly key?: string;
  readonly offset?: number;
  constructor(message: string, where: { file: string; key?: string; offset?: number; cause?: unknown }) {
    super('ERR_CHECKPOINT', message, { cause: where.cause });
    this.file = where.file;
    if (where.key !== undefined) this.key = where.key;
    if (where.offset !== undefined) this.offset = where.offset;
  }
}

/** An image that cannot be read or has a wrong size. */
export class ImageError extends NextscaleError {
  readonly file: string;
  constructor(message: string, where: { file: string; cause?: unknown }) {
    super('ERR_IMAGE', message, { cause: where.cause });
    this.file = where.file;
  }
}

/** A dataset, a list or archive of it, or a token cache that cannot be read; names the file. */
export class DatasetError extends NextscaleError {
  readonly file: string;
  constructor(message: string, where: { file: string; cause?: unknown }) {
    super('ERR_DATASET', message, { cause: where.cause });
    this.file = where.file;
  }
}

/** The work was cancelled by its AbortSignal. `name` is AbortError, as everywhere on the platform. */
export class AbortError extends NextscaleError {
  constructor(message = 'the work was aborted', options?: ErrorOptions) {
    super('ABORT_ERR', message, options);
  }
}

/** The device, the addon or a file format lacks what was asked for. */
export class UnsupportedError extends NextscaleError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_UNSUPPORTED', message, options);
  }
}

/** Late form of UnsupportedError and of an index out of range keep their op: see EngineError.code. */
export const LATE_CODES = { unsupported: 'ERR_UNSUPPORTED', index: 'ERR_INDEX', io: 'ERR_IO', lost: 'ERR_DEVICE_LOST' } as const;
