// conv2d: y = alpha * (conv(up(x)) + bias) + beta * residual, NHWC.
// Floor: direct 2 B Ho Wo k k I O FLOP at the FMA peak; winograd2 2.25x, winograd4 4x fewer multiplications (winograd.cpp).
// Direct is an implicit GEMM: row = output pixel, k = (ky, kx, i); rows are gathered from x while they are packed, so nothing of
// size pixels x k is stored. Upsampling is in the address only.
#include <algorithm>

#include "native/cpu/conv_narrow.h"
#include "native/cpu/gemm.h"
#include "native/cpu/winograd.h"

namespace ns::cpu {
namespace {

constexpr int64_t kNarrowInputs = 16;  // below, vectors along the input channels stay mostly empty

struct Pixels {
  const float* x;
  const float* zeros;  // in floats
  int64_t h, w, in, outH, outW, kernel, stride, pad, upsample;
};

int64_t pixelRows(const void* source, int64_t first, int count, int64_t k, int64_t limit, const float** pointers) {
  const Pixels& s = *static_cast<const Pixels*>(source);
  const int64_t tap = k / s.in, i = k % s.in, ky = tap / s.kernel, kx = tap % s.kernel;
  const int64_t upH = s.h * s.upsample, upW = s.w * s.upsample;
  int64_t ox = first % s.outW, oy = first / s.outW % s.outH, b = first / (s.outW * s.outH);
  for (int r = 0; r < count; r++) {
    const int64_t iy = oy * s.stride + ky - s.pad, ix = ox * s.stride + kx - s.pad;
    if (iy < 0 || ix < 0 || iy >= upH || ix >= upW) {
      pointers[r] = s.zeros + i;
    } else {
      const int64_t sy = s.upsample == 1 ? iy : iy / s.upsample, sx = s.upsample == 1 ? ix : ix / s.upsample;
      pointers[r] = s.x + ((b * s.h + sy) * s.w + sx) * s.in + i;
    }
    if (++ox == s.outW) {
      ox = 0;
      if (++oy == s.outH) {
        oy = 0;
        b++;
      }
    }
  }
  return std::min(limit, s.in - i);
}

struct Shape {
  int64_t batch, h, w, in, outH, outW;
};

void direct(Context& ctx, const NsCall& call, const op::conv2d::Params& p, const Shape& s, const Epilogue& e) {
  Gemm g;
  g.m = s.batch * s.outH * s.outW;
  g.n = p.o;
  g.k = s.in * p.kernel * p.kernel;
  g.w = call.in[op::conv2d::in::w].data;
  g.dtype = dtype(call.in[op::conv2d::in::w]);
  g.c = out<float>(call, 0);
  g.ldc = p.o;
  g.epilogue = e;
  const float* x = in<float>(call, op::conv2d::in::x);
  if (p.kernel == 1 && p.stride == 1 && p.upsample == 1 && p.padBefore == 0 && p.padAfter == 0) {
    g.a = x;
    g.lda = s.in;
    gemm(ctx, g);
    return;
  }
  float* zeros = ctx.shared.floats(1, static_cast<size_t>(s.in));
  std::fill_n(zeros, s.in, 0.0f);
  const Pixels pixels{x, zeros, s.h, s.w, s.in, s.outH, s.outW, p.kernel, p.stride, p.padBefore, p.upsample};
  g.rows = pixelRows;
  g.source = &pixels;
  const int64_t taps = p.kernel * p.kernel;
  if (g.n <= kNarrowOutputs && taps <= kNarrowTaps && s.in >= kNarrowInputs) {
    convNarrow(ctx, g, taps, s.in);
    return;
  }
  gemm(ctx, g);
}

void transformed(Context& ctx, const NsCall& call, const op::conv2d::Params& p, const Shape& s, const Epilogue& e) {
  Winograd v;
  v.m = p.algo == op::conv2d::Algo::winograd2 ? 2 : 4;
  v.batch = s.batch;
  v.h = s.h;
  v.w = s.w;
  v.in = s.in;
  v.out = p.o;
  v.outH = s.outH;
  v.outW = s.outW;
  v.upsample = p.upsample;
  v.pad = p.padBefore;
  v.x = in<float>(call, op::conv2d::in::x);
  v.weights = call.in[op::conv2d::in::w].data;
  v.dtype = dtype(call.in[op::conv2d::in::w]);
  v.bias = e.bias;
  v.residual = e.residual;
  v.y = out<float>(call, 0);
  v.alpha = e.alpha;
  v.beta = e.beta;
  winograd(ctx, v);
}

Status check(const NsTensor& x, const NsTensor& w, const NsTensor& y, const op::conv2d::Params& p) {
  if (x.ndim != 4 || y.ndim != 4 || p.kernel < 1 || p.stride < 1 || p.upsample < 1 || p.o < 1) {
    return failure(NS_INVALID, "[conv2d] kernel %d, stride %d, upsample %d, o %d: all must be positive", p.kernel, p.stride, p.upsample,
                   p.o);
  }
  const bool isDirect = p.algo == op::conv2d::Algo::direct;
  const int64_t panels = ceilDiv(p.o, kPanel), points = p.algo == op::conv2d::Algo::winograd2 ? 16 : 36;
  const bool fits = isDirect ? w.ndim == 3 && w.dims[0] == panels && w.dims[1] == x.dims[3] * p.kernel * p.kernel && w.dims[2] == kPanel
                             : w.ndim == 4 && w.dims[0] == points && w.dims[1] == panels && w.dims[2] == x.dims[3] && w.dims[3] == kPanel;
  if (!fits) {
    return failure(NS_INVALID, "[conv2d] packed weight does not fit %lld input channels, o = %d, kernel %d and algo %d",
                   static_cast<long long>(x.dims[3]), p.o, p.kernel, static_cast<int>(p.algo));
  }
  if (!isDirect && (p.kernel != 3 || p.stride != 1)) {
    return failure(NS_UNSUPPORTED, "[conv2d] winograd does kernel 3 with stride 1, got kernel %d and stride %d", p.kernel, p.stride);
  }
  return Status();
}

}  // namespace

namespace kernels {

Status conv2d(Context& ctx, const NsCall& call, const op::conv2d::Params& p) {
  using In = op::conv2d::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& y = call.out[0];
  Status status = check(x, call.in[In::w], y, p);
  if (!status.ok()) return status;
  Epilogue e;
  if (const NsTensor* bias = input(call, In::bias)) e.bias = static_cast<const float*>(bias->data);
  if (const NsTensor* residual = input(call, In::residual)) {
    if (count(*residual) != count(y)) return failure(NS_INVALID, "[conv2d] the residual's size differs from the output's");
    e.residual = static_cast<const float*>(residual->data);
  }
  e.alpha = p.alpha;
  e.beta = p.beta;
  const Shape s{x.dims[0], x.dims[1], x.dims[2], x.dims[3], y.dims[1], y.dims[2]};
  if (p.algo == op::conv2d::Algo::direct) {
    direct(ctx, call, p, s, e);
  } else {
    transformed(ctx, call, p, s, e);
  }
  return Status();
}

}  // namespace kernels
}  // namespace ns::cpu
