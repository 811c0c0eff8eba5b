// conv2d and conv_pack: checks, the view of the maps as pixels, launches over parts of the batch that 32-bit indices can number.
// Kernels: cuda/kernels/conv_run.cuh. Every algorithm of a packed weight has the direct rows at the front and runs the same kernel.
#include <algorithm>

#include "cuda/kernels/conv_pack.cuh"
#include "cuda/ops/conv.h"

namespace ns::cuda {
namespace conv {

ConvMap mapOf(const NsTensor& x, const NsTensor& y, int images, int kernel, int stride, int pad, int upsample) {
  ConvMap m{};
  m.h = static_cast<int>(x.dims[1]);
  m.w = static_cast<int>(x.dims[2]);
  m.in = static_cast<int>(x.dims[3]);
  m.upH = m.h * upsample;
  m.upW = m.w * upsample;
  m.outH = static_cast<int>(y.dims[1]);
  m.outW = static_cast<int>(y.dims[2]);
  m.pixels = images * m.outH * m.outW;
  m.kernel = kernel;
  m.stride = stride;
  m.pad = pad;
  m.depth = kernel * kernel * m.in;
  m.up = divisorOf(upsample);
  m.overWidth = divisorOf(m.outW);
  m.overHeight = divisorOf(m.outH);
  m.overChannels = divisorOf(m.in);
  m.overKernel = divisorOf(kernel);
  return m;
}

Status checkSizes(const char* op, const NsTensor& x, const NsTensor& y, int64_t kernel, int64_t upsample) {
  constexpr int64_t kMost = (int64_t{1} << 31) - 65536;
  const int64_t h = x.dims[1] * upsample, w = x.dims[2] * upsample, in = x.dims[3], out = y.dims[3];
  if (h < kMost && w < kMost && x.dims[1] * x.dims[2] <= kMostPixels && y.dims[1] * y.dims[2] <= kMostPixels &&
      kernel * kernel * in < kMost && out < kMost) {
    return Status();
  }
  return failure(NS_UNSUPPORTED, "[%s] x [%lld,%lld,%lld,%lld], y [%lld,%lld,%lld,%lld]: an image or a window is too large", op,
                 static_cast<long long>(x.dims[0]), static_cast<long long>(x.dims[1]), static_cast<long long>(x.dims[2]),
                 static_cast<long long>(in), static_cast<long long>(y.dims[0]), static_cast<long long>(y.dims[1]),
                 static_cast<long long>(y.dims[2]), static_cast<long long>(out));
}

namespace {

Status checkForward(const NsTensor& x, const NsTensor& w, const NsTensor& y, const op::conv2d::Params& p) {
  if (x.ndim != 4 || y.ndim != 4 || x.dims[3] < 1 || p.kernel < 1 || p.stride < 1 || p.upsample < 1 || p.o < 1 || p.padBefore < 0) {
    return failure(NS_INVALID, "[conv2d] kernel %d, stride %d, upsample %d, o %d: all must be positive", p.kernel, p.stride, p.upsample,
                   p.o);
  }
  const bool direct = p.algo == op::conv2d::Algo::direct;
  const int64_t panels = divUp(p.o, 16), points = p.algo == op::conv2d::Algo::winograd2 ? 16 : 36;
  const bool fits = direct ? w.ndim == 3 && w.dims[0] == panels && w.dims[1] == x.dims[3] * p.kernel * p.kernel && w.dims[2] == 16
                           : w.ndim == 4 && w.dims[0] == points && w.dims[1] == panels && w.dims[2] == x.dims[3] && w.dims[3] == 16;
  if (!fits) {
    return failure(NS_INVALID, "[conv2d] packed weight does not fit %lld input channels, o = %d, kernel %d and algo %d",
                   static_cast<long long>(x.dims[3]), p.o, p.kernel, static_cast<int>(p.algo));
  }
  if (!direct && (p.kernel != 3 || p.stride != 1)) {
    return failure(NS_UNSUPPORTED, "[conv2d] winograd does kernel 3 with stride 1, got kernel %d and stride %d", p.kernel, p.stride);
  }
  return checkSizes("conv2d", x, y, p.kernel, p.upsample);
}

}  // namespace

Status alignWeights(const Context& ctx, const Forward& f, DType element, gemm::Matrix& m) {
  const int64_t rows = divUp(f.outputs, 16) * 16, size = static_cast<int64_t>(dtypeSize(element)), chunk = gemm::kChunkBytes / size;
  m.data = f.w.data;
  m.pitch = f.map.depth;
  m.type = element;
  if (f.w.type == element && m.pitch % chunk == 0 && aligned16(m.data)) return Status();
  m.pitch = divUp(f.map.depth, chunk) * chunk;
  void* copy = ctx.scratch<char>(0, static_cast<size_t>(rows * m.pitch * size));
  m.data = copy;
  return launch(ctx, copyRows, itemShape(ctx, rows * m.pitch), f.w, Out{copy, element}, rows, f.map.depth, m.pitch);
}

}  // namespace conv

namespace ops {

Status conv2d(const Context& ctx, const NsCall& call, const op::conv2d::Params& p) {
  using Index = op::conv2d::in::Index;
  const NsTensor &x = call.in[Index::x], &w = call.in[Index::w], &y = call.out[0];
  Status status = conv::checkForward(x, w, y, p);
  if (!status.ok()) return status;
  const NsTensor* residual = input(call, Index::residual);
  if (residual && count(*residual) != count(y)) return failure(NS_INVALID, "[conv2d] the residual's size differs from the output's");
  if (count(y) == 0) return Status();
  conv::Forward f{};
  f.w = inOf(w);
  f.outputs = p.o;
  f.epilogue.bias = in<float>(call, Index::bias);
  f.epilogue.pitch = p.o;
  f.epilogue.alpha = p.alpha;
  f.epilogue.beta = p.beta;
  f.epilogue.yType = dtype(y);
  if (residual) f.epilogue.residualType = dtype(*residual);
  const int64_t step = std::min(x.dims[0], conv::imagesAtOnce(x, y));
  for (int64_t b = 0; b < x.dims[0]; b += step) {
    const auto images = static_cast<int>(std::min(step, x.dims[0] - b));
    const int64_t from = b * (count(y) / x.dims[0]);
    f.map = conv::mapOf(x, y, images, p.kernel, p.stride, p.padBefore, p.upsample);
    f.x = conv::at(inOf(x), b * (count(x) / x.dims[0]));
    f.epilogue.y = const_cast<void*>(conv::at(inOf(y), from).data);
    if (residual) f.epilogue.residual = conv::at(inOf(*residual), from).data;
    f.epilogue.pack();
    status = conv::withMath(ctx, f.x.type, f.w.type, [&](auto math) { return conv::forward<decltype(math)>(ctx, f); });
    if (!status.ok()) return status;
  }
  return Status();
}

Status conv_pack(const Context& ctx, const NsCall& call, const op::conv_pack::Params& p) {
  const NsTensor &w = call.in[0], &packed = call.out[0];
  if (w.ndim != 4) return failure(NS_INVALID, "[conv_pack] w has %d dims, needs 4", w.ndim);
  if (p.algo != op::conv_pack::Algo::direct && (w.dims[2] != 3 || w.dims[3] != 3)) {
    return failure(NS_INVALID, "[conv_pack] winograd needs a 3x3 kernel, got %lldx%lld", static_cast<long long>(w.dims[2]),
                   static_cast<long long>(w.dims[3]));
  }
  const int64_t outputs = w.dims[p.transpose ? 1 : 0], inputs = w.dims[p.transpose ? 0 : 1], taps = w.dims[2] * w.dims[3];
  const int64_t kernels = divUp(outputs, 16) * 16 * inputs;
  if (kernels * taps > count(packed) || outputs >= INT32_MAX || inputs >= INT32_MAX || taps >= INT32_MAX) {
    return failure(NS_INVALID, "[conv_pack] w [%lld,%lld,%lld,%lld] does not fit the packed tensor", static_cast<long long>(w.dims[0]),
                   static_cast<long long>(w.dims[1]), static_cast<long long>(w.dims[2]), static_cast<long long>(w.dims[3]));
  }
  if (count(packed) == 0) return Status();
  const auto kernel = p.transpose ? conv::packWeight<true> : conv::packWeight<false>;
  return launch(ctx, kernel, itemShape(ctx, std::max<int64_t>(kernels, 1)), inOf(w), outOf(packed), outputs, inputs, taps, kernels,
                count(packed));
}

}  // namespace ops
}  // namespace ns::cuda
