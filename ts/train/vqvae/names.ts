/** Keys of the state dict that training treats in a way of their own. */
export const CODEBOOK = 'quantize.embedding.weight';
export const HITS = 'quantize.ema_vocab_hit_SV';
export const PHI = 'quantize.quant_resi.';
