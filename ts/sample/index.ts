export { type GenerateResult, Generation, type ScalePreview } from './generation.js';
export { RgbImage } from './image.js';
export type { ImageInput } from './input.js';
export type { GenerateOptions, ImageOptions } from './options.js';
export type { WeightInput } from './source.js';
export type { TokenLayout, Tokens } from './tokens.js';
export { type ForwardCall, type GenerateCall, VAR, type VarCreateOptions, type VarLoadOptions } from './var.js';
export {
  type DecodedImages,
  type DecodeOptions,
  type TokenizeOptions,
  VQVAE,
  type VqvaeInitOptions,
  type VqvaeLoadOptions,
} from './vqvae.js';
