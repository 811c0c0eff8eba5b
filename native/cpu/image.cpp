// resize_lanczos, image_to_unit, unit_to_image: 8-bit images.
// Floor: Lanczos takes 6 * max(1, scale) multiply-adds per output byte and pass (about 6 per input byte when it shrinks); the others are
// bound by memory, 5 bytes per value.
// Layout: HWC bytes.
// Reference: PIL's 8-bit resampling with LANCZOS (two passes, bytes between them, weights as 22-bit fixed point); torchvision's
// ToTensor followed by x + x - 1.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/image.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// y[i] = sum_t x[t * stride + i] * weights[t], rounded and clipped to a byte.
void VerticalRow(const uint8_t* x, int64_t stride, const int32_t* weights, int taps, uint8_t* y, int64_t n) {
  const hn::ScalableTag<int32_t> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    auto s = hn::Set(d, 1 << 21);
    for (int t = 0; t < taps; t++) s = hn::Add(s, hn::Mul(hn::PromoteTo(d, hn::LoadU(d8, x + t * stride + i)), hn::Set(d, weights[t])));
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<22>(s)), d8, y + i);
  }
  for (; i < n; i++) {
    int32_t s = 1 << 21;
    for (int t = 0; t < taps; t++) s += x[t * stride + i] * weights[t];
    s >>= 22;
    y[i] = static_cast<uint8_t>(s < 0 ? 0 : s > 255 ? 255 : s);
  }
}

void ToUnitRow(const uint8_t* x, float* y, int64_t n) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint8_t, F32> d8;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto unit = [&](const uint8_t* p) {
    const auto v = hn::Div(hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, p))), hn::Set(d, 255.0f));
    return hn::Sub(hn::Add(v, v), hn::Set(d, 1.0f));
  };
  int64_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(unit(x + i), d, y + i);
  if (hn::MaxLanes(d) == 1 || i == n) return;
  HWY_ALIGN uint8_t part[hn::MaxLanes(d)] = {};
  std::memcpy(part, x + i, static_cast<size_t>(n - i));
  StorePart(d, unit(part), y + i, static_cast<size_t>(n - i));
}

void ToImageRow(const float* x, uint8_t* y, int64_t n) {
  const F32 d;
  const hn::Rebind<uint8_t, F32> d8;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto zero = hn::Zero(d), top = hn::Set(d, 255.0f);
  const auto bytes = [&](hn::Vec<F32> v) {
    const auto s = hn::Mul(hn::Add(v, hn::Set(d, 1.0f)), hn::Set(d, 127.5f));
    const auto t = hn::IfThenElseZero(hn::Gt(s, zero), s);  // NaN fails the comparison
    return hn::DemoteTo(d8, hn::NearestInt(hn::IfThenElse(hn::Gt(t, top), top, t)));
  };
  int64_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(bytes(hn::LoadU(d, x + i)), d8, y + i);
  if (hn::MaxLanes(d) == 1 || i == n) return;
  HWY_ALIGN uint8_t part[hn::MaxLanes(d)];
  hn::StoreU(bytes(LoadPart(d, x + i, static_cast<size_t>(n - i), 0.0f)), d8, part);
  std::memcpy(y + i, part, static_cast<size_t>(n - i));
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>
#include <cstring>
#include <vector>

namespace ns::cpu {
HWY_EXPORT(VerticalRow);
HWY_EXPORT(ToUnitRow);
HWY_EXPORT(ToImageRow);

namespace {
constexpr int kFractionBits = 22;
constexpr int64_t kMaxEdge = INT32_MAX / 8;  // so that the number of taps fits an int
constexpr double kRadius = 3.0, kPi = 3.14159265358979323846;

double sinc(double x) { return x == 0.0 ? 1.0 : std::sin(x * kPi) / (x * kPi); }
double lanczos(double x) { return x >= -kRadius && x < kRadius ? sinc(x) * sinc(x / kRadius) : 0.0; }

// Which input samples an output sample takes, and how much of each in 2^-22.
struct Taps {
  struct Span {
    int from, n;
  };
  int stride;
  std::vector<Span> spans;
  std::vector<int32_t> weights;  // [outputs][stride]
};

Taps tapsFor(int in, int out) {
  const double scale = static_cast<double>(in) / out, stretch = scale < 1.0 ? 1.0 : scale, support = kRadius * stretch;
  Taps t;
  t.stride = static_cast<int>(std::ceil(support)) * 2 + 1;
  t.weights.assign(static_cast<size_t>(out) * static_cast<size_t>(t.stride), 0);
  std::vector<double> w(static_cast<size_t>(t.stride));
  for (int i = 0; i < out; i++) {
    const double center = (i + 0.5) * scale, shrink = 1.0 / stretch;
    const int first = static_cast<int>(center - support + 0.5), last = static_cast<int>(center + support + 0.5);
    const int from = first < 0 ? 0 : first, n = (last > in ? in : last) - from;
    double sum = 0;
    for (int k = 0; k < n; k++) sum += w[static_cast<size_t>(k)] = lanczos((k + from - center + 0.5) * shrink);
    int32_t* fixed = t.weights.data() + static_cast<size_t>(i) * static_cast<size_t>(t.stride);
    for (int k = 0; k < n; k++) {
      const double v = (sum != 0.0 ? w[static_cast<size_t>(k)] / sum : w[static_cast<size_t>(k)]) * (1 << kFractionBits);
      fixed[k] = static_cast<int32_t>(v < 0 ? v - 0.5 : v + 0.5);
    }
    t.spans.push_back({from, n});
  }
  return t;
}

uint8_t clip(int32_t s) {
  s >>= kFractionBits;
  return static_cast<uint8_t>(s < 0 ? 0 : s > 255 ? 255 : s);
}

// One row along x; kC channels, 0: C is not known at compile time.
template <int kC>
void horizontalRow(const Taps& taps, const uint8_t* x, uint8_t* y, int outW, int C) {
  for (int i = 0; i < outW; i++) {
    const Taps::Span s = taps.spans[static_cast<size_t>(i)];
    const int32_t* w = taps.weights.data() + static_cast<size_t>(i) * static_cast<size_t>(taps.stride);
    const uint8_t* p = x + static_cast<int64_t>(s.from) * (kC ? kC : C);
    if constexpr (kC > 0) {
      int32_t sum[kC];
      for (int c = 0; c < kC; c++) sum[c] = 1 << (kFractionBits - 1);
      for (int k = 0; k < s.n; k++) {
        for (int c = 0; c < kC; c++) sum[c] += p[k * kC + c] * w[k];
      }
      for (int c = 0; c < kC; c++) y[static_cast<int64_t>(i) * kC + c] = clip(sum[c]);
    } else {
      for (int c = 0; c < C; c++) {
        int32_t sum = 1 << (kFractionBits - 1);
        for (int k = 0; k < s.n; k++) sum += p[static_cast<int64_t>(k) * C + c] * w[k];
        y[static_cast<int64_t>(i) * C + c] = clip(sum);
      }
    }
  }
}

void resizeWidth(Pool& pool, const uint8_t* x, int h, int w, int C, int outW, uint8_t* y) {
  const Taps taps = tapsFor(w, outW);
  const auto row = C == 1 ? horizontalRow<1> : C == 3 ? horizontalRow<3> : C == 4 ? horizontalRow<4> : horizontalRow<0>;
  pool.parallelFor(h, 8192 / (static_cast<int64_t>(w) * C) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) row(taps, x + r * w * C, y + r * outW * C, outW, C);
  });
}

void resizeHeight(Pool& pool, const uint8_t* x, int h, int64_t row, int outH, uint8_t* y) {
  const Taps taps = tapsFor(h, outH);
  const auto vertical = HWY_DYNAMIC_DISPATCH(VerticalRow);
  pool.parallelFor(outH, 4096 / row + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const Taps::Span s = taps.spans[static_cast<size_t>(r)];
      vertical(x + s.from * row, row, taps.weights.data() + r * taps.stride, s.n, y + r * row, row);
    }
  });
}
}  // namespace

namespace kernels {

Status resize_lanczos(Context& ctx, const NsCall& call, const op::resize_lanczos::Params& p) {
  const NsTensor& t = call.in[0];
  if (dtype(t) != DType::u8) return failure(NS_UNSUPPORTED, "[resize_lanczos] x is %s, accepted: u8", dtypeName(dtype(t)));
  if (t.dims[0] > kMaxEdge || t.dims[1] > kMaxEdge || t.dims[2] > 64 || count(t) == 0 || p.outH < 1 || p.outW < 1) {
    return failure(NS_UNSUPPORTED, "[resize_lanczos] x is [%lld,%lld,%lld], out is [%d,%d]", static_cast<long long>(t.dims[0]),
                   static_cast<long long>(t.dims[1]), static_cast<long long>(t.dims[2]), p.outH, p.outW);
  }
  const int h = static_cast<int>(t.dims[0]), w = static_cast<int>(t.dims[1]), C = static_cast<int>(t.dims[2]);
  const uint8_t* x = in<uint8_t>(call, 0);
  uint8_t* y = out<uint8_t>(call, 0);
  const int64_t row = static_cast<int64_t>(p.outW) * C;
  if (w != p.outW) {
    uint8_t* wide = h == p.outH ? y : static_cast<uint8_t*>(ctx.shared.bytes(0, static_cast<size_t>(h) * static_cast<size_t>(row)));
    resizeWidth(ctx.pool, x, h, w, C, p.outW, wide);
    x = wide;
  }
  if (h != p.outH) {
    resizeHeight(ctx.pool, x, h, row, p.outH, y);
  } else if (w == p.outW) {
    std::memcpy(y, x, static_cast<size_t>(count(t)));
  }
  return {};
}

Status image_to_unit(Context& ctx, const NsCall& call, const op::image_to_unit::Params&) {
  if (dtype(call.in[0]) != DType::u8) return failure(NS_UNSUPPORTED, "[image_to_unit] x is %s, accepted: u8", dtypeName(dtype(call.in[0])));
  const uint8_t* x = in<uint8_t>(call, 0);
  float* y = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(ToUnitRow);
  ctx.pool.parallelFor(count(call.in[0]), 16384, [&](int64_t b, int64_t e, int) { row(x + b, y + b, e - b); });
  return {};
}

Status unit_to_image(Context& ctx, const NsCall& call, const op::unit_to_image::Params&) {
  if (dtype(call.in[0]) != DType::f32)
    return failure(NS_UNSUPPORTED, "[unit_to_image] x is %s, accepted: f32", dtypeName(dtype(call.in[0])));
  const float* x = in<float>(call, 0);
  uint8_t* y = out<uint8_t>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(ToImageRow);
  ctx.pool.parallelFor(count(call.in[0]), 16384, [&](int64_t b, int64_t e, int) { row(x + b, y + b, e - b); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
