// Generation with Gumbel-softmax embeddings and given noise: the same run with other taps.
export { run } from './var-generate.js';
