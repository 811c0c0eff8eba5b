export { type AttentionCall, type KvCache, SelfAttention } from './attention.js';
export { Conv2d, type Conv2dOptions, type ConvAlgo, convAlgo } from './conv2d.js';
export { Embedding } from './embedding.js';
export { fanInUniform, type Init, InitSource, ones, type RowScale, seedWords, streamOf, zeros } from './init.js';
export { Linear, type LinearEpilogue, type LinearOptions } from './linear.js';
export { checkKeys } from './match.js';
export { Module, type ParamSpec } from './module.js';
export { GroupNorm, layerNormMod } from './norm.js';
export { type WeightDType, type WeightInfo, WeightReader, type WeightSource } from './source.js';
