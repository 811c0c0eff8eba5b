// interpolate: area (adaptive average), bicubic, nearest.
// Floor: area reads x once; bicubic 40 FLOPs and 16 loads per output value, at most 16 x 16 pixels in the quantizer, so far from any bound.
// Layout: NHWC; vectors run along the channels, threads along the output rows.
// Reference: F.interpolate(mode='area'), (mode='bicubic', align_corners=False, antialias=False: Keys' kernel, a = -0.75, borders
// clamped, coordinates and weights in f32), (mode='nearest').
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/interpolate.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/interpolate.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// y[c] = mean of x[c] over h rows (rowStride apart) of w pixels (C apart).
void AreaPixel(const float* x, int64_t rowStride, int64_t h, int64_t w, int64_t C, float* y) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto area = hn::Set(d, static_cast<float>(h * w));
  for (int64_t c = 0; c < C; c += N) {
    const size_t rest = static_cast<size_t>(C - c);
    const bool whole = C - c >= N;
    auto s = hn::Zero(d);
    for (int64_t i = 0; i < h; i++) {
      for (int64_t j = 0; j < w; j++) {
        const float* p = x + i * rowStride + j * C + c;
        s = hn::Add(s, whole ? hn::LoadU(d, p) : LoadPart(d, p, rest, 0.0f));
      }
    }
    s = hn::Div(s, area);
    if (whole) {
      hn::StoreU(s, d, y + c);
    } else {
      StorePart(d, s, y + c, rest);
    }
  }
}

// y[c] = sum_i wy[i] sum_j wx[j] rows[i][xs[j] + c]
void CubicPixel(const float* const* rows, const int64_t* xs, const float* wy, const float* wx, int64_t C, float* y) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t c = 0; c < C; c += N) {
    const size_t rest = static_cast<size_t>(C - c);
    const bool whole = C - c >= N;
    auto s = hn::Zero(d);
    for (int i = 0; i < 4; i++) {
      auto r = hn::Zero(d);
      for (int j = 0; j < 4; j++) {
        const float* p = rows[i] + xs[j] + c;
        r = hn::MulAdd(whole ? hn::LoadU(d, p) : LoadPart(d, p, rest, 0.0f), hn::Set(d, wx[j]), r);
      }
      s = hn::MulAdd(r, hn::Set(d, wy[i]), s);
    }
    if (whole) {
      hn::StoreU(s, d, y + c);
    } else {
      StorePart(d, s, y + c, rest);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <cmath>
#include <cstring>
#include <vector>

namespace ns::cpu {
HWY_EXPORT(AreaPixel);
HWY_EXPORT(CubicPixel);

namespace {
struct Map {
  int64_t h, w, C, outH, outW;
};

float near(float t) { return (1.25f * t - 2.25f) * t * t + 1.0f; }           // |t| <= 1
float far(float t) { return ((-0.75f * t + 3.75f) * t - 6.0f) * t + 3.0f; }  // 1 < |t| < 2

}  // namespace

Cubic cubicAt(int64_t i, int64_t in, int64_t out) {
  const float scale = static_cast<float>(in) / static_cast<float>(out);
  const float src = scale * (static_cast<float>(i) + 0.5f) - 0.5f;
  const float base = std::floor(src), t = src - base;
  Cubic c;
  for (int k = 0; k < 4; k++) {
    const int64_t at = static_cast<int64_t>(base) - 1 + k;
    c.at[k] = at < 0 ? 0 : at >= in ? in - 1 : at;
  }
  c.weight[0] = far(t + 1.0f);
  c.weight[1] = near(t);
  c.weight[2] = near(1.0f - t);
  c.weight[3] = far(2.0f - t);
  return c;
}

namespace {
void areaRow(const Map& m, const float* x, int64_t i, float* y) {
  const auto pixel = HWY_DYNAMIC_DISPATCH(AreaPixel);
  const int64_t y0 = i * m.h / m.outH, y1 = ((i + 1) * m.h + m.outH - 1) / m.outH;
  for (int64_t j = 0; j < m.outW; j++) {
    const int64_t x0 = j * m.w / m.outW, x1 = ((j + 1) * m.w + m.outW - 1) / m.outW;
    pixel(x + (y0 * m.w + x0) * m.C, m.w * m.C, y1 - y0, x1 - x0, m.C, y + j * m.C);
  }
}

void cubicRow(const Map& m, const float* x, int64_t i, const Cubic* columns, float* y) {
  const auto pixel = HWY_DYNAMIC_DISPATCH(CubicPixel);
  const Cubic v = cubicAt(i, m.h, m.outH);
  const float* rows[4];
  for (int k = 0; k < 4; k++) rows[k] = x + v.at[k] * m.w * m.C;
  for (int64_t j = 0; j < m.outW; j++) {
    int64_t xs[4];
    for (int k = 0; k < 4; k++) xs[k] = columns[j].at[k] * m.C;
    pixel(rows, xs, v.weight, columns[j].weight, m.C, y + j * m.C);
  }
}

void nearestRow(const Map& m, const float* x, int64_t i, float* y) {
  const float* row = x + i * m.h / m.outH * m.w * m.C;
  for (int64_t j = 0; j < m.outW; j++) std::memcpy(y + j * m.C, row + j * m.w / m.outW * m.C, static_cast<size_t>(m.C) * sizeof(float));
}
}  // namespace

namespace kernels {

Status interpolate(Context& ctx, const NsCall& call, const op::interpolate::Params& p) {
  using Mode = op::interpolate::Mode;
  const NsTensor& t = call.in[0];
  if (dtype(t) != DType::f32) return failure(NS_UNSUPPORTED, "[interpolate] x is %s, accepted: f32", dtypeName(dtype(t)));
  const Map m{t.dims[1], t.dims[2], t.dims[3], p.outH, p.outW};
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  std::vector<Cubic> columns;
  if (p.mode == Mode::bicubic) {
    for (int64_t j = 0; j < m.outW; j++) columns.push_back(cubicAt(j, m.w, m.outW));
  }
  const int64_t row = m.outW * m.C;
  ctx.pool.parallelFor(t.dims[0] * m.outH, 4096 / (row < 1 ? 1 : row) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) {
      const int64_t b = r / m.outH, i = r - b * m.outH;
      const float* image = x + b * m.h * m.w * m.C;
      if (p.mode == Mode::area) areaRow(m, image, i, y + r * row);
      if (p.mode == Mode::bicubic) cubicRow(m, image, i, columns.data(), y + r * row);
      if (p.mode == Mode::nearest) nearestRow(m, image, i, y + r * row);
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
