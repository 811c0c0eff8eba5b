// Convolution to at most four channels: a dot product per output, vectors run along the input channels, nothing is padded to 16 outputs.
// Floor: 2 m n k FLOP at the FMA peak, one pass over x (each value is read per tap, from cache).
// Layout: rows as in conv.cpp; weights are turned once per call into [tap][n][in] f32. An output is the sum of its lanes over (tap,
// channel) in order, then over the lanes: the same for every row and thread.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/conv_narrow.cpp"
#include "native/cpu/conv_narrow.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "native/cpu/cast.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using DF = HWY_CAPPED(float, 16);
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(MaxLanes(DF()));
constexpr int kGroup = 4;    // rows at once
constexpr int kRowsAt = 16;  // rows per address computation

HWY_INLINE VF LoadSome(const float* p, int64_t n) {
  const DF d;
  if (n >= kLanes) return hn::LoadU(d, p);
  HWY_ALIGN float part[16] = {};
  std::memcpy(part, p, static_cast<size_t>(n) * sizeof(float));
  return hn::Load(d, part);
}

// sums[r * Outs + o] for kGroup rows.
template <int Outs>
void Dots(const float* (*pointers)[kRowsAt], int first, const float* w, int64_t taps, int64_t in, float* sums) {
  const DF d;
  VF acc[kGroup][Outs];
  for (int r = 0; r < kGroup; r++) {
    for (int o = 0; o < Outs; o++) acc[r][o] = hn::Zero(d);
  }
  for (int64_t t = 0; t < taps; t++) {
    const float* const* x = pointers[t] + first;
    const float* wt = w + t * Outs * in;
    for (int64_t c = 0; c < in; c += kLanes) {
      VF b[Outs];
      for (int o = 0; o < Outs; o++) b[o] = LoadSome(wt + o * in + c, in - c);
      for (int r = 0; r < kGroup; r++) {
        const VF a = LoadSome(x[r] + c, in - c);
        for (int o = 0; o < Outs; o++) acc[r][o] = hn::MulAdd(a, b[o], acc[r][o]);
      }
    }
  }
  for (int r = 0; r < kGroup; r++) {
    for (int o = 0; o < Outs; o++) sums[r * Outs + o] = hn::GetLane(hn::SumOfLanes(d, acc[r][o]));
  }
}

template <int Outs>
void Range(const Gemm& g, const float* w, int64_t taps, int64_t in, int64_t begin, int64_t end) {
  const Epilogue& e = g.epilogue;
  const float* pointers[kNarrowTaps][kRowsAt];
  float sums[kGroup * Outs];
  for (int64_t m = begin; m < end; m += kRowsAt) {
    const int rows = static_cast<int>(std::min<int64_t>(kRowsAt, end - m));
    for (int64_t t = 0; t < taps; t++) {
      g.rows(g.source, m, rows, t * in, in, pointers[t]);
      for (int r = rows; r < kRowsAt; r++) pointers[t][r] = pointers[t][rows - 1];
    }
    for (int first = 0; first < rows; first += kGroup) {
      Dots<Outs>(pointers, first, w, taps, in, sums);
      for (int r = 0; r < std::min(kGroup, rows - first); r++) {
        const int64_t at = (m + first + r) * g.ldc;
        for (int o = 0; o < Outs; o++) {
          float v = sums[r * Outs + o];
          if (e.bias) v += e.bias[o];
          v *= e.alpha;
          if (e.residual) v += e.beta * e.residual[at + o];
          g.c[at + o] = v;
        }
      }
    }
  }
}

void Narrow(Context& ctx, const Gemm& g, const float* w, int64_t taps, int64_t in) {
  ctx.pool.parallelFor(g.m, 512, [&](int64_t begin, int64_t end, int) {
    switch (g.n) {
      case 1: return Range<1>(g, w, taps, in, begin, end);
      case 2: return Range<2>(g, w, taps, in, begin, end);
      case 3: return Range<3>(g, w, taps, in, begin, end);
      default: return Range<4>(g, w, taps, in, begin, end);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {

HWY_EXPORT(Narrow);

void convNarrow(Context& ctx, const Gemm& g, int64_t taps, int64_t in) {
  float* turned = ctx.shared.floats(2, static_cast<size_t>(g.k * (g.n + kPanel)));
  float* panel = turned + g.k * g.n;
  castRow(g.dtype, DType::f32, g.w, panel, g.k * kPanel);
  for (int64_t t = 0; t < taps; t++) {
    for (int64_t o = 0; o < g.n; o++) {
      for (int64_t i = 0; i < in; i++) turned[(t * g.n + o) * in + i] = panel[(t * in + i) * kPanel + o];
    }
  }
  HWY_DYNAMIC_DISPATCH(Narrow)(ctx, g, turned, taps, in);
}

}  // namespace ns::cpu
#endif
