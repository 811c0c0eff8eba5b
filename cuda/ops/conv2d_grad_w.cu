// conv2d_grad_w: dw[o,i,ky,kx] += alpha * sum over pixels of dy[.., o] * up(x)[.. + (ky, kx), i], dbias += alpha * column sums of dy.
// A product over pixels: ranges of them have partial sums in scratch, which are added in order. Kernels: cuda/kernels/conv_run.cuh.
#include <algorithm>

#include "cuda/kernels/conv_grad.cuh"
#include "cuda/ops/conv.h"

namespace ns::cuda {
namespace conv {
namespace {

Status checkGradient(const NsTensor& x, const NsTensor& dy, const NsTensor& dw, const op::conv2d_grad_w::Params& p) {
  const bool fits = x.ndim == 4 && dy.ndim == 4 && dw.ndim == 4 && x.dims[0] == dy.dims[0] && dw.dims[0] == dy.dims[3] &&
                    dw.dims[1] == x.dims[3] && dw.dims[2] == dw.dims[3];
  if (!fits || p.stride < 1 || p.upsample < 1 || p.padBefore < 0) {
    return failure(NS_INVALID, "[conv2d_grad_w] x [.., %lld], dy [.., %lld] and dw [%lld, %lld, %lld, %lld] do not fit",
                   static_cast<long long>(x.dims[3]), static_cast<long long>(dy.dims[3]), static_cast<long long>(dw.dims[0]),
                   static_cast<long long>(dw.dims[1]), static_cast<long long>(dw.dims[2]), static_cast<long long>(dw.dims[3]));
  }
  if (dw.dims[2] * dw.dims[3] > kMaxTaps) {
    return failure(NS_UNSUPPORTED, "[conv2d_grad_w] kernel %d, largest: 64", static_cast<int>(dw.dims[2]));
  }
  return checkSizes("conv2d_grad_w", x, dy, dw.dims[2], p.upsample);
}

// Uses scratch slot 1.
Status addBias(const Context& ctx, const In& dy, int64_t rows, int width, float alpha, float* to) {
  constexpr int64_t kMostRanges = 256, kShortest = 64;
  const int64_t depth = divUp(rows, std::min(kMostRanges, divUp(rows, kShortest))), ranges = divUp(rows, depth);
  float* partial = ctx.scratch<float>(1, static_cast<size_t>(ranges * width));
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(divUp(width, kColumns)), static_cast<unsigned>(ranges));
  shape.block = dim3(kColumns, kLines);
  const Status s = launch(ctx, columnSums, shape, dy, rows, width, depth, partial);
  if (!s.ok()) return s;
  Shape adding;
  adding.grid = dim3(static_cast<unsigned>(divUp(width, kThreads / kWarp)));
  adding.block = dim3(kThreads);
  return launch(ctx, addColumns, adding, partial, ranges, width, alpha, to);
}

}  // namespace

Status addPartial(const Context& ctx, const WeightGradient& g, const float* partial, int count) {
  const int taps = g.map.kernel * g.map.kernel;
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(g.outputs * divUp(g.map.in, channelsPerBlock(taps))));
  shape.block = dim3(kThreads);
  return launch(ctx, addWeight, shape, partial, count, static_cast<int64_t>(g.outputs) * g.map.depth, g.map.in, taps, g.alpha, g.dw);
}

}  // namespace conv

namespace ops {

Status conv2d_grad_w(const Context& ctx, const NsCall& call, const op::conv2d_grad_w::Params& p) {
  using Index = op::conv2d_grad_w::in::Index;
  const NsTensor &x = call.in[Index::x], &dy = call.in[Index::dy], &dw = call.in[Index::dw];
  Status status = conv::checkGradient(x, dy, dw, p);
  if (!status.ok() || count(dy) == 0 || count(dw) == 0) return status;
  conv::WeightGradient g{};
  g.outputs = static_cast<int>(dy.dims[3]);
  g.alpha = p.alpha;
  g.dw = mut<float>(call, Index::dw);
  const auto kernel = static_cast<int>(dw.dims[2]);
  const int64_t step = std::min(x.dims[0], conv::imagesAtOnce(x, dy));
  for (int64_t b = 0; b < x.dims[0]; b += step) {
    const auto images = static_cast<int>(std::min(step, x.dims[0] - b));
    g.map = conv::mapOf(x, dy, images, kernel, p.stride, p.padBefore, p.upsample);
    g.x = conv::at(inOf(x), b * (count(x) / x.dims[0]));
    g.dy = conv::at(inOf(dy), b * (count(dy) / x.dims[0]));
    status = conv::withMath(ctx, g.x.type, g.dy.type, [&](auto math) { return conv::weightGradient<decltype(math)>(ctx, g); });
    if (!status.ok()) return status;
  }
  if (!input(call, Index::dbias)) return Status();
  return conv::addBias(ctx, inOf(dy), count(dy) / dy.dims[3], g.outputs, p.alpha, mut<float>(call, Index::dbias));
}

}  // namespace ops
}  // namespace ns::cuda
