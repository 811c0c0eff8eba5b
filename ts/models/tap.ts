import type { Tensor } from '../engine/index.js';

/**
 * Inspection hook: called while commands are enqueued, with the name of an intermediate result and its tensor. The tensor is only valid
 * inside the call; `tensor.read()` called there gives its value at that point of the program.
 */
export type Tap = (name: string, tensor: Tensor) => void;

/** Releases `old` and passes `next` on: for chains where each step replaces the one before. */
export function replace(old: Tensor, next: Tensor): Tensor {
  if (old !== next) old.dispose();
  return next;
}
