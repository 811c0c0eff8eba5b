// Convolution between its checks (conv2d.cu, conv2d_grad_w.cu) and the kernels, which are instantiated per arithmetic in files of their own
// so that these compile in parallel.
#pragma once
#include <algorithm>

#include "cuda/common/context.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/conv_map.h"
#include "cuda/kernels/epilogue.cuh"
#include "cuda/kernels/gemm_load.cuh"

namespace ns::cuda::conv {

// Pixels of one launch: indices stay below 2^31 in the tile behind the last one.
constexpr int64_t kMostPixels = (int64_t{1} << 31) - 4096;

// kernel, stride and pad as in ops.json; images: how many of the batch. ConvMap's limits were checked.
ConvMap mapOf(const NsTensor& x, const NsTensor& y, int images, int kernel, int stride, int pad, int upsample);

// Whether the sizes of one image fit 32-bit arithmetic.
Status checkSizes(const char* op, const NsTensor& x, const NsTensor& y, int64_t kernel, int64_t upsample);

// Images that one launch can take.
inline int64_t imagesAtOnce(const NsTensor& x, const NsTensor& y) {
  return kMostPixels / std::max(x.dims[1] * x.dims[2], y.dims[1] * y.dims[2]);
}

inline In at(const In& t, int64_t elements) {
  return {static_cast<const char*>(t.data) + elements * static_cast<int64_t>(dtypeSize(t.type)), t.type};
}

struct Forward {
  ConvMap map;
  In x, w;  // w: rows [outputs, padded to 16][depth]
  int outputs;
  Epilogue epilogue;
};
// Weights of an element type as copies of 16 bytes need them: where they lie, or converted and padded in scratch slot 0.
Status alignWeights(const Context& ctx, const Forward& f, DType element, gemm::Matrix& m);
template <class Math>
Status forward(const Context& ctx, const Forward& f);

struct WeightGradient {
  ConvMap map;
  In x, dy;
  int outputs;
  float alpha;
  float* dw;
};
// dw += alpha * the sum of `count` partial sums [outputs][depth].
Status addPartial(const Context& ctx, const WeightGradient& g, const float* partial, int count);
// Uses scratch slot 0.
template <class Math>
Status weightGradient(const Context& ctx, const WeightGradient& g);

// Both operands in one 16-bit type: its tensor cores. Otherwise f32: exact, or rounded to tf32 where the engine may.
template <class F>
Status withMath(const Context& ctx, DType a, DType b, F f) {
  if (a == b && a == DType::f16) return f(gemm::Half<f16>{});
  if (a == b && a == DType::bf16) return f(gemm::Half<bf16>{});
  return ctx.tf32 ? f(gemm::Tf32{}) : f(gemm::Exact{});
}

}  // namespace ns::cuda::conv
