export { cacheBytes, checkPairing, DEFAULT_VAR, inferVarConfig, presetConfig, type VarConfig, varConfig } from './config.js';
export { BatchInputs, breathe, type GenerateBatch, type GenerateHooks, generateAll, generateFhat } from './generate.js';
export type { VarInitOptions } from './init.js';
export { type Conditioning, type ForwardOptions, VarModel } from './model.js';
export { VAE_FILE, VAR_PRESETS, type VarPreset, type VarPresetName } from './presets.js';
