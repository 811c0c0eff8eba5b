// Written by scripts/gen-ops.mjs from ops.json. Do not edit.
#pragma once
#include <cstdint>

#include "native/abi/dtype.h"

namespace ns::op {

constexpr int32_t kFirstId = 64;
constexpr int32_t kOpCount = 60;

struct Dims {
  int32_t n;
  int32_t d[6];
};

// Tensor of one value.
namespace fill {
constexpr int32_t kId = 64;
namespace in { enum Index : int32_t { kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  Dims shape;
  float value;
  DType dtype;
};
}  // namespace fill

// Converts the dtype; float to integer truncates toward zero and saturates, f32 to f16/bf16 rounds to nearest even.
namespace cast {
constexpr int32_t kId = 65;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  DType dtype;
};
}  // namespace cast

// Copy with another shape of the same size.
namespace reshape {
constexpr int32_t kId = 66;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  Dims shape;
};
}  // namespace reshape

// Elementwise function. gelu is the tanh approximation.
namespace unary {
constexpr int32_t kId = 67;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Fn : int32_t { silu, gelu, exp, log, sqrt, rsqrt, tanh, sigmoid, abs, neg, square, recip };
struct Params {
  Fn fn;
};
}  // namespace unary

// Elementwise function of two tensors with NumPy broadcasting; lt and le give 1 or 0.
namespace binary {
constexpr int32_t kId = 68;
namespace in { enum Index : int32_t { a, b, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Fn : int32_t { add, sub, mul, div, max, min, lt, le };
struct Params {
  Fn fn;
};
}  // namespace binary

// clamp(x * mul + add, lo, hi).
namespace affine {
constexpr int32_t kId = 69;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  float mul;
  float add;
  float lo;
  float hi;
};
}  // namespace affine

// y = y * beta + x * alpha, in place.
namespace accumulate {
constexpr int32_t kId = 70;
namespace in { enum Index : int32_t { y, x, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  float alpha;
  float beta;
};
}  // namespace accumulate

// Reduction over one axis, which is removed (argmax gives the first maximum as i32).
namespace reduce {
constexpr int32_t kId = 71;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Fn : int32_t { sum, mean, max, min, argmax };
struct Params {
  Fn fn;
  int32_t axis;
};
}  // namespace reduce

// Softmax over the last dim of x * scale; a row with NaN or +inf, or of -inf only, gives NaN.
namespace softmax {
constexpr int32_t kId = 72;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  float scale;
};
}  // namespace softmax

// x / max(|x|, eps) over the last dim (F.normalize).
namespace l2_normalize {
constexpr int32_t kId = 73;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  float eps;
};
}  // namespace l2_normalize

// Reorders the dims: y.dim[i] = x.dim[order[i]].
namespace permute {
constexpr int32_t kId = 74;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  Dims order;
};
}  // namespace permute

// Copies size entries from start along one axis.
namespace slice {
constexpr int32_t kId = 75;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t axis;
  int32_t start;
  int32_t size;
};
}  // namespace slice

// Joins two tensors along one axis.
namespace concat {
constexpr int32_t kId = 76;
namespace in { enum Index : int32_t { a, b, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t axis;
};
}  // namespace concat

// Overwrites dst at start along one axis with src, in place.
namespace write_slice {
constexpr int32_t kId = 77;
namespace in { enum Index : int32_t { dst, src, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  int32_t axis;
  int32_t start;
};
}  // namespace write_slice

// Rows of a table; an index outside [0, V) is a late index error.
namespace embedding {
constexpr int32_t kId = 78;
namespace in { enum Index : int32_t { table, idx, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
};
}  // namespace embedding

// Weight [N,K] to panels of 16 output columns, zero-padded, k-major: packed[p][k][j] = w[p*16+j][k]. transpose packs the transposed weight, [ceil(K/16), N, 16]: what the gradient of the input is multiplied with. The dtype may narrow to f16/bf16, or (CPU, not transposed) to u8 [ceil(N/16), K+4, 16]: signed bytes, and behind all panels 16 f32 scales per panel.
namespace linear_pack {
constexpr int32_t kId = 79;
namespace in { enum Index : int32_t { w, kCount }; }
namespace out { enum Index : int32_t { packed, kCount }; }
struct Params {
  DType dtype;
  int32_t transpose;
};
}  // namespace linear_pack

// y = residual + gate * act(x W^T + bias); gate is row gateAt of [B,G,N], one row per leading B of x (B may be 1).
namespace linear {
constexpr int32_t kId = 80;
namespace in { enum Index : int32_t { x, w, bias, gate, residual, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Act : int32_t { none, gelu, silu };
struct Params {
  int32_t n;
  Act act;
  int32_t gateAt;
  DType dtype;
};
}  // namespace linear

// Batched product a b (or a b^T with transB) times alpha.
namespace matmul {
constexpr int32_t kId = 81;
namespace in { enum Index : int32_t { a, b, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t transB;
  float alpha;
};
}  // namespace matmul

// Convolution weight OIHW to panels of 16 output channels. direct: [ceil(O/16), kh*kw*I, 16], k = (ky*kw+kx)*I+i. winograd2/4 (3x3 stride 1): [16 or 36, ceil(O/16), I, 16], transformed in f32 from f64. transpose packs the weight of the gradient of the input: w'[i][o][y][x] = w[o][i][kh-1-y][kw-1-x], with I panels of O.
namespace conv_pack {
constexpr int32_t kId = 82;
namespace in { enum Index : int32_t { w, kCount }; }
namespace out { enum Index : int32_t { packed, kCount }; }
enum class Algo : int32_t { direct, winograd2, winograd4 };
struct Params {
  Algo algo;
  DType dtype;
  int32_t transpose;
};
}  // namespace conv_pack

// NHWC convolution: y = alpha * (conv(up(x)) + bias) + beta * residual, up = nearest by upsample. Padding: before/after in both dims (3x3 s1: 1,1; the encoder's 3x3 s2: 0,1).
namespace conv2d {
constexpr int32_t kId = 83;
namespace in { enum Index : int32_t { x, w, bias, residual, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Algo : int32_t { direct, winograd2, winograd4 };
struct Params {
  int32_t o;
  int32_t kernel;
  int32_t stride;
  int32_t padBefore;
  int32_t padAfter;
  int32_t upsample;
  Algo algo;
  float alpha;
  float beta;
  DType dtype;
};
}  // namespace conv2d

// GroupNorm over NHWC with affine, then SiLU if asked; statistics in f32 or better.
namespace group_norm {
constexpr int32_t kId = 84;
namespace in { enum Index : int32_t { x, gamma, beta, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t groups;
  float eps;
  int32_t silu;
  DType dtype;
};
}  // namespace group_norm

// LayerNorm without affine over the last dim, then AdaLN modulation y * (1 + scale) + shift; mod is [Bm,G,C], Bm is B or 1, scaleAt/shiftAt choose the rows.
namespace layer_norm {
constexpr int32_t kId = 85;
namespace in { enum Index : int32_t { x, mod, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  float eps;
  int32_t scaleAt;
  int32_t shiftAt;
  DType dtype;
};
}  // namespace layer_norm

// Self-attention on fused qkv [B,l,3,H,c] (flattened). With scaleMul: q and k are l2-normalised per head and q times exp(min(scaleMul, maxScaleMul)). scores times scale. Keys: the first pos rows of the caches, then the l new ones; with append the new (normalised) k and v are written to the caches at pos. visible[i] = number of keys query i sees, counted over cache and new keys together (block-causal by scale; absent: all); outside 1..pos+l is a late error. New keys and values are used as f32, whatever the caches hold. In f32 a row does not depend on l, the batch or how its keys came: f32 caches give the bits of the uncached call. With 16-bit qkv a backend may round the normalised q, k, v and the probabilities to that dtype. lse, where given, receives the log of the sum of exp of each row's scaled scores (for attention_grad).
namespace attention {
constexpr int32_t kId = 86;
namespace in { enum Index : int32_t { qkv, scaleMul, visible, kCache, vCache, lse, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t heads;
  int32_t width;
  float scale;
  float maxScaleMul;
  int32_t pos;
  int32_t append;
};
}  // namespace attention

// NHWC resampling: area (adaptive average), bicubic (a = -0.75, align_corners false, no antialias), nearest.
namespace interpolate {
constexpr int32_t kId = 87;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Mode : int32_t { area, bicubic, nearest };
struct Params {
  Mode mode;
  int32_t outH;
  int32_t outW;
};
}  // namespace interpolate

// 8-bit image HWC, antialiased Lanczos (a = 3) as PIL does it: along x, then along y over bytes rounded in between, 22-bit fixed-point weights.
namespace resize_lanczos {
constexpr int32_t kId = 88;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t outH;
  int32_t outW;
};
}  // namespace resize_lanczos

// Bytes to [-1,1] as the reference does it in f32: v = u8 / 255; v + v - 1.
namespace image_to_unit {
constexpr int32_t kId = 89;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
};
}  // namespace image_to_unit

// [-1,1] to bytes: round(clamp((x + 1) * 127.5, 0, 255)), half to even; NaN gives 0.
namespace unit_to_image {
constexpr int32_t kId = 90;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
};
}  // namespace unit_to_image

// Index of the nearest code (first one on ties; 0 for a vector of NaN): smallest |e|^2 - 2 z.e in f32, or largest cosine of both normalised (eps 1e-12); no N x V matrix.
namespace vq_lookup {
constexpr int32_t kId = 91;
namespace in { enum Index : int32_t { z, codebook, kCount }; }
namespace out { enum Index : int32_t { idx, kCount }; }
struct Params {
  int32_t cosine;
};
}  // namespace vq_lookup

// Guidance: (1 + t[b]) * logits[b] - t[b] * logits[B + b].
namespace cfg_mix {
constexpr int32_t kId = 92;
namespace in { enum Index : int32_t { logits, t, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
};
}  // namespace cfg_mix

// Sets to -inf what top-k, then top-p (of the softmax of what is left), remove; k <= 0, k >= V or p <= 0 switches it off; k and p per image. Top-k keeps every logit not below the k-th largest, and all where fewer than k are finite. Top-p removes in ascending order (equal logits by index) while the cumulative probability is <= 1 - p; the largest (the last of equals) always stays. NaN or +inf is a late error that names the row.
namespace truncate_logits {
constexpr int32_t kId = 93;
namespace in { enum Index : int32_t { logits, topK, topP, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
};
}  // namespace truncate_logits

// One draw per row of probabilities (they need not sum to 1): the first index whose running sum in f64 exceeds u * total. u = (x + 0.5) / 2^32, x the first word of Philox4x32-10 with seed[b] = (lo, hi, imageIndex), key (lo, hi), counter (token, scale, imageIndex, 0). A negative, NaN, infinite or all-zero row is a late error.
namespace multinomial {
constexpr int32_t kId = 94;
namespace in { enum Index : int32_t { probs, seed, kCount }; }
namespace out { enum Index : int32_t { idx, kCount }; }
struct Params {
  int32_t scale;
};
}  // namespace multinomial

// Fused cfg_mix, truncate_logits, softmax, multinomial: the same tokens as the chain. NaN, +inf or a row without a finite logit is a late error that names image and token.
namespace sample_cfg {
constexpr int32_t kId = 95;
namespace in { enum Index : int32_t { logits, t, topK, topP, seed, kCount }; }
namespace out { enum Index : int32_t { idx, kCount }; }
struct Params {
  int32_t scale;
};
}  // namespace sample_cfg

// softmax((logits * mul + g) / tau) per row, tau > 0; g given, or -log(-log(u)) with u as multinomial's from word v % 4 of counter (token, scale, imageIndex, 0x47000000 + v / 4). -inf gives 0; NaN, +inf or nothing finite is a late error.
namespace gumbel_softmax {
constexpr int32_t kId = 96;
namespace in { enum Index : int32_t { logits, gumbel, seed, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  float mul;
  float tau;
  int32_t scale;
};
}  // namespace gumbel_softmax

// Philox numbers from u = (x + 0.5) / 2^32, x word i % 4 of key (seedLo, seedHi), counter (i / 4 low, i / 4 high, stream, 0x52). uniform: mean and std are lo and hi of [lo, hi), lo + u * (hi - lo). normal: mean + std * sqrt(2) * erfinv(2 u - 1). trunc_normal: the same with u mapped to [cdf(-2), cdf(2)], that is cut at -2 and 2 as nn.init.trunc_normal_ does by default; mean must lie in [-2, 2]. Element i depends on (seed, stream, i) only.
namespace random {
constexpr int32_t kId = 97;
namespace in { enum Index : int32_t { kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
enum class Kind : int32_t { uniform, normal, trunc_normal };
struct Params {
  Dims shape;
  Kind kind;
  float mean;
  float std;
  int32_t seedLo;
  int32_t seedHi;
  int32_t stream;
};
}  // namespace random

// Gradient of unary at x: dy * f'(x); abs has slope 0 at 0.
namespace unary_grad {
constexpr int32_t kId = 98;
namespace in { enum Index : int32_t { x, dy, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
enum class Fn : int32_t { silu, gelu, exp, log, sqrt, rsqrt, tanh, sigmoid, abs, neg, square, recip };
struct Params {
  Fn fn;
};
}  // namespace unary_grad

// Gradient of affine: dy * mul where x * mul + add lies in [lo, hi], else 0.
namespace affine_grad {
constexpr int32_t kId = 99;
namespace in { enum Index : int32_t { x, dy, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  float mul;
  float add;
  float lo;
  float hi;
};
}  // namespace affine_grad

// Sums x over the dims in which the shape it was broadcast from is 1 or missing: the gradient of broadcasting.
namespace sum_to {
constexpr int32_t kId = 100;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  Dims shape;
};
}  // namespace sum_to

// Repeats x along the dims in which it is 1 or which it lacks.
namespace broadcast_to {
constexpr int32_t kId = 101;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  Dims shape;
};
}  // namespace broadcast_to

// Gradient of softmax from its output: scale * y * (dy - sum(dy * y)).
namespace softmax_grad {
constexpr int32_t kId = 102;
namespace in { enum Index : int32_t { y, dy, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  float scale;
};
}  // namespace softmax_grad

// Gradient of l2_normalize at x; where |x| <= eps the norm counts as constant.
namespace l2_normalize_grad {
constexpr int32_t kId = 103;
namespace in { enum Index : int32_t { x, dy, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  float eps;
};
}  // namespace l2_normalize_grad

// Adds the rows of dy to the rows idx of dTable, in place, in the order of idx; an index outside [0, V) is a late index error.
namespace embedding_grad {
constexpr int32_t kId = 104;
namespace in { enum Index : int32_t { idx, dy, dTable, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
};
}  // namespace embedding_grad

// Overwrites the rows idx of dst with the rows of src, in place (the last of equal indices stays); an index outside [0, V) is a late index error.
namespace scatter_rows {
constexpr int32_t kId = 105;
namespace in { enum Index : int32_t { dst, idx, src, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
};
}  // namespace scatter_rows

// How often each of 0..n-1 occurs in idx, as f32; an index outside is a late index error.
namespace bincount {
constexpr int32_t kId = 106;
namespace in { enum Index : int32_t { idx, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t n;
};
}  // namespace bincount

// Gradient of interpolate with respect to its input [B, h, w, C].
namespace interpolate_grad {
constexpr int32_t kId = 107;
namespace in { enum Index : int32_t { dy, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
enum class Mode : int32_t { area, bicubic, nearest };
struct Params {
  Mode mode;
  int32_t h;
  int32_t w;
};
}  // namespace interpolate_grad

// Puts stride - 1 zeros between the pixels of an NHWC map: [B, (h-1)*stride+1, (w-1)*stride+1, C]; the gradient of a strided convolution is a plain one of it.
namespace dilate {
constexpr int32_t kId = 108;
namespace in { enum Index : int32_t { x, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t stride;
};
}  // namespace dilate

// residual + gate * x; gate is row gateAt of [B,G,N], one row per leading B of x (B may be 1).
namespace gate_residual {
constexpr int32_t kId = 109;
namespace in { enum Index : int32_t { x, gate, residual, kCount }; }
namespace out { enum Index : int32_t { y, kCount }; }
struct Params {
  int32_t gateAt;
  DType dtype;
};
}  // namespace gate_residual

// Gradient of gate_residual: dx = gate * dy; dGate, where given, gets sum over l (and over the batch where it has one row) of x * dy added to row gateAt.
namespace gate_residual_grad {
constexpr int32_t kId = 110;
namespace in { enum Index : int32_t { x, dy, gate, dGate, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  int32_t gateAt;
};
}  // namespace gate_residual_grad

// Adds dy^T x to dw and the column sums of dy to dbias, in place, times alpha.
namespace linear_grad_w {
constexpr int32_t kId = 111;
namespace in { enum Index : int32_t { x, dy, dw, dbias, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  float alpha;
};
}  // namespace linear_grad_w

// Gradient of conv2d with respect to its OIHW weight and bias, added in place, times alpha; x is the convolution's input, dy [B, h', w', O] the gradient of its output.
namespace conv2d_grad_w {
constexpr int32_t kId = 112;
namespace in { enum Index : int32_t { x, dy, dw, dbias, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  int32_t stride;
  int32_t padBefore;
  int32_t padAfter;
  int32_t upsample;
  float alpha;
};
}  // namespace conv2d_grad_w

// Gradient of attention (without caches) with respect to qkv, from its output y, the gradient dy and lse; probabilities are computed again, block by block. dScaleMul gets its gradient added.
namespace attention_grad {
constexpr int32_t kId = 113;
namespace in { enum Index : int32_t { qkv, y, dy, lse, scaleMul, visible, dScaleMul, kCount }; }
namespace out { enum Index : int32_t { dqkv, kCount }; }
struct Params {
  int32_t heads;
  int32_t width;
  float scale;
  float maxScaleMul;
};
}  // namespace attention_grad

// Gradient of layer_norm with respect to x; dMod, where given, gets dy * norm(x) added to row scaleAt and dy to row shiftAt, summed over l (and over the batch where it has one row).
namespace layer_norm_grad {
constexpr int32_t kId = 114;
namespace in { enum Index : int32_t { x, dy, mod, dMod, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  float eps;
  int32_t scaleAt;
  int32_t shiftAt;
};
}  // namespace layer_norm_grad

// Gradient of group_norm (and of the SiLU after it) with respect to x; dGamma and dBeta get theirs added.
namespace group_norm_grad {
constexpr int32_t kId = 115;
namespace in { enum Index : int32_t { x, dy, gamma, beta, dGamma, dBeta, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
struct Params {
  int32_t groups;
  float eps;
  int32_t silu;
};
}  // namespace group_norm_grad

// Per row: -(1 - labelSmooth) log p[target] - labelSmooth / V * sum(log p), p = softmax(logits); no probability is stored. A target outside [0, V) is a late index error.
namespace cross_entropy {
constexpr int32_t kId = 116;
namespace in { enum Index : int32_t { logits, target, kCount }; }
namespace out { enum Index : int32_t { loss, kCount }; }
struct Params {
  float labelSmooth;
};
}  // namespace cross_entropy

// Gradient of cross_entropy with respect to the logits; dLoss is the gradient of each row's loss.
namespace cross_entropy_grad {
constexpr int32_t kId = 117;
namespace in { enum Index : int32_t { logits, target, dLoss, kCount }; }
namespace out { enum Index : int32_t { dLogits, kCount }; }
struct Params {
  float labelSmooth;
};
}  // namespace cross_entropy_grad

// Mean over all elements of |x - y| (l1) or (x - y)^2 (l2), summed in f64.
namespace pair_loss {
constexpr int32_t kId = 118;
namespace in { enum Index : int32_t { x, y, kCount }; }
namespace out { enum Index : int32_t { loss, kCount }; }
enum class Kind : int32_t { l1, l2 };
struct Params {
  Kind kind;
};
}  // namespace pair_loss

// Gradient of pair_loss with respect to x times dLoss; that of y is its negative. l1 has slope 0 at 0.
namespace pair_loss_grad {
constexpr int32_t kId = 119;
namespace in { enum Index : int32_t { x, y, dLoss, kCount }; }
namespace out { enum Index : int32_t { dx, kCount }; }
enum class Kind : int32_t { l1, l2 };
struct Params {
  Kind kind;
};
}  // namespace pair_loss_grad

// Per segment [offsets[i], offsets[i+1]) of a flat gradient: the sum of squares of its finite elements (in f64) and the number of those that are not finite.
namespace grad_stats {
constexpr int32_t kId = 120;
namespace in { enum Index : int32_t { g, offsets, kCount }; }
namespace out { enum Index : int32_t { stats, kCount }; }
struct Params {
};
}  // namespace grad_stats

// One Adam step on a flat range, in place: g = grad * invScale, clipped by min(1, maxNorm / (norm + 1e-6)) where maxNorm > 0 (norm = sqrt(stats[0]) * invScale); nothing is changed where stats[1], the number of non-finite gradients, is not 0. decoupled: p *= 1 - lr * weightDecay first (AdamW), else g += weightDecay * p (Adam). m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; p -= lr / (1-b1^step) * m / (sqrt(v) / sqrt(1-b2^step) + eps); b1 and b2 are taken as decimals of 7 places (1 - 0.999 is 0.001). maxNorm needs stats. master: f32 copy that is updated in place of a 16-bit param and rounded to it. dynamic, where given, holds (lr, weightDecay, step, invScale) instead of the attributes.
namespace adamw {
constexpr int32_t kId = 121;
namespace in { enum Index : int32_t { param, grad, m, v, master, stats, dynamic, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  float lr;
  float beta1;
  float beta2;
  float eps;
  float weightDecay;
  int32_t decoupled;
  int32_t step;
  float invScale;
  float maxNorm;
};
}  // namespace adamw

// adamw with both moments as 8-bit codes in blocks of 256 elements: m signed and v unsigned, with s = c - 128, code c of a block means scale * sign(s) * (s / 127)^2 for m and scale * (c / 255)^2 for v, scale the largest magnitude of the block; the new value takes the nearest code, v at least 1 where v > 0. The step uses the moments before they are rounded to codes. dynamic as in adamw.
namespace adamw8 {
constexpr int32_t kId = 122;
namespace in { enum Index : int32_t { param, grad, m, v, mScale, vScale, master, stats, dynamic, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  float lr;
  float beta1;
  float beta2;
  float eps;
  float weightDecay;
  int32_t decoupled;
  int32_t step;
  float invScale;
  float maxNorm;
};
}  // namespace adamw8

// One SGD step on a flat range, in place, with the unscaling, clipping and skipping of adamw: g += weightDecay * p; velocity = momentum * velocity + g; p -= lr * (nesterov ? g + momentum * velocity : velocity). dynamic as in adamw (its step is not used).
namespace sgd {
constexpr int32_t kId = 123;
namespace in { enum Index : int32_t { param, grad, velocity, master, stats, dynamic, kCount }; }
namespace out { enum Index : int32_t { kCount }; }
struct Params {
  float lr;
  float momentum;
  int32_t nesterov;
  float weightDecay;
  float invScale;
  float maxNorm;
};
}  // namespace sgd

struct Info {
  const char* name;
  int32_t inputs, outputs, params;  // params in 32-bit words
  uint32_t mutated;                 // bit i: input i is written in place
  uint32_t optional;                // bit i: input i may be absent
  uint32_t activations;             // bit i: input i is an activation, in f32 or 16 bits
  const char* kinds;                // one letter per attribute: f i b(ool) t (dtype) d(ims), or an enum: 'A' + its size - 1
};

constexpr Info kInfo[kOpCount] = {
    {"fill", 0, 1, 9, 0u, 0u, 0u, "dft"},
    {"cast", 1, 1, 1, 0u, 0u, 0u, "t"},
    {"reshape", 1, 1, 7, 0u, 0u, 0u, "d"},
    {"unary", 1, 1, 1, 0u, 0u, 1u, "L"},
    {"binary", 2, 1, 1, 0u, 0u, 3u, "H"},
    {"affine", 1, 1, 4, 0u, 0u, 1u, "ffff"},
    {"accumulate", 2, 0, 2, 1u, 0u, 3u, "ff"},
    {"reduce", 1, 1, 2, 0u, 0u, 0u, "Ei"},
    {"softmax", 1, 1, 1, 0u, 0u, 0u, "f"},
    {"l2_normalize", 1, 1, 1, 0u, 0u, 0u, "f"},
    {"permute", 1, 1, 7, 0u, 0u, 0u, "d"},
    {"slice", 1, 1, 3, 0u, 0u, 0u, "iii"},
    {"concat", 2, 1, 1, 0u, 0u, 0u, "i"},
    {"write_slice", 2, 0, 2, 1u, 0u, 0u, "ii"},
    {"embedding", 2, 1, 0, 0u, 0u, 0u, ""},
    {"linear_pack", 1, 1, 2, 0u, 0u, 0u, "tb"},
    {"linear", 5, 1, 4, 0u, 28u, 17u, "iCit"},
    {"matmul", 2, 1, 2, 0u, 0u, 3u, "bf"},
    {"conv_pack", 1, 1, 3, 0u, 0u, 0u, "Ctb"},
    {"conv2d", 4, 1, 10, 0u, 12u, 9u, "iiiiiiCfft"},
    {"group_norm", 3, 1, 4, 0u, 0u, 1u, "ifbt"},
    {"layer_norm", 2, 1, 4, 0u, 2u, 1u, "fiit"},
    {"attention", 6, 1, 6, 56u, 62u, 1u, "iiffib"},
    {"interpolate", 1, 1, 3, 0u, 0u, 0u, "Cii"},
    {"resize_lanczos", 1, 1, 2, 0u, 0u, 0u, "ii"},
    {"image_to_unit", 1, 1, 0, 0u, 0u, 0u, ""},
    {"unit_to_image", 1, 1, 0, 0u, 0u, 0u, ""},
    {"vq_lookup", 2, 1, 1, 0u, 0u, 0u, "b"},
    {"cfg_mix", 2, 1, 0, 0u, 0u, 0u, ""},
    {"truncate_logits", 3, 1, 0, 0u, 0u, 0u, ""},
    {"multinomial", 2, 1, 1, 0u, 0u, 0u, "i"},
    {"sample_cfg", 5, 1, 1, 0u, 0u, 0u, "i"},
    {"gumbel_softmax", 3, 1, 3, 0u, 6u, 0u, "ffi"},
    {"random", 0, 1, 13, 0u, 0u, 0u, "dCffiii"},
    {"unary_grad", 2, 1, 1, 0u, 0u, 3u, "L"},
    {"affine_grad", 2, 1, 4, 0u, 0u, 3u, "ffff"},
    {"sum_to", 1, 1, 7, 0u, 0u, 1u, "d"},
    {"broadcast_to", 1, 1, 7, 0u, 0u, 1u, "d"},
    {"softmax_grad", 2, 1, 1, 0u, 0u, 0u, "f"},
    {"l2_normalize_grad", 2, 1, 1, 0u, 0u, 0u, "f"},
    {"embedding_grad", 3, 0, 0, 4u, 0u, 0u, ""},
    {"scatter_rows", 3, 0, 0, 1u, 0u, 0u, ""},
    {"bincount", 1, 1, 1, 0u, 0u, 0u, "i"},
    {"interpolate_grad", 1, 1, 3, 0u, 0u, 0u, "Cii"},
    {"dilate", 1, 1, 1, 0u, 0u, 1u, "i"},
    {"gate_residual", 3, 1, 2, 0u, 4u, 5u, "it"},
    {"gate_residual_grad", 4, 1, 1, 8u, 8u, 3u, "i"},
    {"linear_grad_w", 4, 0, 1, 12u, 8u, 3u, "f"},
    {"conv2d_grad_w", 4, 0, 5, 12u, 8u, 3u, "iiiif"},
    {"attention_grad", 7, 1, 4, 64u, 112u, 7u, "iiff"},
    {"layer_norm_grad", 4, 1, 3, 8u, 12u, 3u, "fii"},
    {"group_norm_grad", 6, 1, 3, 48u, 48u, 3u, "ifb"},
    {"cross_entropy", 2, 1, 1, 0u, 0u, 1u, "f"},
    {"cross_entropy_grad", 3, 1, 1, 0u, 0u, 1u, "f"},
    {"pair_loss", 2, 1, 1, 0u, 0u, 0u, "B"},
    {"pair_loss_grad", 3, 1, 1, 0u, 0u, 0u, "B"},
    {"grad_stats", 2, 1, 0, 0u, 0u, 0u, ""},
    {"adamw", 7, 0, 9, 29u, 112u, 0u, "fffffbiff"},
    {"adamw8", 9, 0, 9, 125u, 448u, 0u, "fffffbiff"},
    {"sgd", 6, 0, 6, 13u, 60u, 0u, "ffbfff"},
};

}  // namespace ns::op

// X(name) for every op, in id order.
#define NS_FOR_EACH_OP(X) \
  X(fill) \
  X(cast) \
  X(reshape) \
  X(unary) \
  X(binary) \
  X(affine) \
  X(accumulate) \
  X(reduce) \
  X(softmax) \
  X(l2_normalize) \
  X(permute) \
  X(slice) \
  X(concat) \
  X(write_slice) \
  X(embedding) \
  X(linear_pack) \
  X(linear) \
  X(matmul) \
  X(conv_pack) \
  X(conv2d) \
  X(group_norm) \
  X(layer_norm) \
  X(attention) \
  X(interpolate) \
  X(resize_lanczos) \
  X(image_to_unit) \
  X(unit_to_image) \
  X(vq_lookup) \
  X(cfg_mix) \
  X(truncate_logits) \
  X(multinomial) \
  X(sample_cfg) \
  X(gumbel_softmax) \
  X(random) \
  X(unary_grad) \
  X(affine_grad) \
  X(sum_to) \
  X(broadcast_to) \
  X(softmax_grad) \
  X(l2_normalize_grad) \
  X(embedding_grad) \
  X(scatter_rows) \
  X(bincount) \
  X(interpolate_grad) \
  X(dilate) \
  X(gate_residual) \
  X(gate_residual_grad) \
  X(linear_grad_w) \
  X(conv2d_grad_w) \
  X(attention_grad) \
  X(layer_norm_grad) \
  X(group_norm_grad) \
  X(cross_entropy) \
  X(cross_entropy_grad) \
  X(pair_loss) \
  X(pair_loss_grad) \
  X(grad_stats) \
  X(adamw) \
  X(adamw8) \
  X(sgd)
