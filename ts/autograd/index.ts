export type { Part } from './checkpoint.js';
export { Tape } from './tape.js';
export * as unfused from './unfused.js';
