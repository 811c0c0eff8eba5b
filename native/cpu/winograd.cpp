// Winograd convolution F(2x2,3x3) and F(4x4,3x3): input transform, (m+2)^2 products on the packed GEMM, output transform.
// Floor: 2 tiles (m+2)^2 I O FLOP at the FMA peak; for few tiles streaming the transformed weights, (m+2)^2/9 of the original bytes.
// Layout: x, y NHWC; v [point][tile][I], z [point][tile][O16]. Many tiles: blocks of kBlockTiles per thread, all three steps in
// its scratch. Few: each step is split over the threads. An output depends on its own tile only, so grouping does not show.
// Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016 (matrices for points 0, 1, -1, 2, -2).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/winograd.cpp"
#include "native/cpu/winograd.h"

#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "native/cpu/gemm.h"

#ifndef NS_CPU_WINOGRAD_CPP_ONCE_
#define NS_CPU_WINOGRAD_CPP_ONCE_
namespace ns::cpu {
constexpr double kG2[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
constexpr double kG4[6][3] = {{0.25, 0, 0},
                              {-1.0 / 6, -1.0 / 6, -1.0 / 6},
                              {-1.0 / 6, 1.0 / 6, -1.0 / 6},
                              {1.0 / 24, 1.0 / 12, 1.0 / 6},
                              {1.0 / 24, -1.0 / 12, 1.0 / 6},
                              {0, 0, 1}};
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using DF = HWY_CAPPED(float, 16);
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(MaxLanes(DF()));
constexpr int64_t kBlockTiles = 48;

// Distance between the planes of two points: an odd number of cache lines, or all points of a tile fall into a few cache sets.
int64_t PlaneFloats(int64_t tiles, int64_t width) {
  const int64_t lines = ceilDiv(tiles * width, 16);
  return (lines | 1) * 16;
}

HWY_INLINE VF C(float x) { return hn::Set(DF(), x); }

// B^T d for one row or column.
HWY_INLINE void InputLine2(const VF* d, VF* t) {
  t[0] = hn::Sub(d[0], d[2]);
  t[1] = hn::Add(d[1], d[2]);
  t[2] = hn::Sub(d[2], d[1]);
  t[3] = hn::Sub(d[1], d[3]);
}
HWY_INLINE void InputLine4(const VF* d, VF* t) {
  const VF a = hn::NegMulAdd(C(4.0f), d[2], d[4]), b = hn::NegMulAdd(C(4.0f), d[1], d[3]);
  const VF c = hn::Sub(d[4], d[2]), e = hn::Mul(C(2.0f), hn::Sub(d[3], d[1]));
  t[0] = hn::MulAdd(C(4.0f), d[0], hn::NegMulAdd(C(5.0f), d[2], d[4]));
  t[1] = hn::Add(a, b);
  t[2] = hn::Sub(a, b);
  t[3] = hn::Add(c, e);
  t[4] = hn::Sub(c, e);
  t[5] = hn::MulAdd(C(4.0f), d[1], hn::NegMulAdd(C(5.0f), d[3], d[5]));
}

// A^T z for one row or column.
HWY_INLINE void OutputLine2(const VF* z, VF* t) {
  t[0] = hn::Add(hn::Add(z[0], z[1]), z[2]);
  t[1] = hn::Sub(hn::Sub(z[1], z[2]), z[3]);
}
HWY_INLINE void OutputLine4(const VF* z, VF* t) {
  const VF a = hn::Add(z[1], z[2]), b = hn::Sub(z[1], z[2]), c = hn::Add(z[3], z[4]), e = hn::Sub(z[3], z[4]);
  t[0] = hn::Add(hn::Add(z[0], a), c);
  t[1] = hn::MulAdd(C(2.0f), e, b);
  t[2] = hn::MulAdd(C(4.0f), c, a);
  t[3] = hn::Add(hn::MulAdd(C(8.0f), e, b), z[5]);
}

template <int M>
HWY_INLINE void InputLine(const VF* d, VF* t) {
  if constexpr (M == 2) {
    InputLine2(d, t);
  } else {
    InputLine4(d, t);
  }
}
template <int M>
HWY_INLINE void OutputLine(const VF* z, VF* t) {
  if constexpr (M == 2) {
    OutputLine2(z, t);
  } else {
    OutputLine4(z, t);
  }
}

HWY_INLINE VF LoadSome(const float* p, int64_t n) {
  const DF d;
  if (n >= kLanes) return hn::LoadU(d, p);
  HWY_ALIGN float part[16] = {};
  std::memcpy(part, p, static_cast<size_t>(n) * sizeof(float));
  return hn::Load(d, part);
}
HWY_INLINE void StoreSome(VF v, float* p, int64_t n) {
  const DF d;
  if (n >= kLanes) {
    hn::StoreU(v, d, p);
    return;
  }
  HWY_ALIGN float part[16];
  hn::Store(v, d, part);
  std::memcpy(p, part, static_cast<size_t>(n) * sizeof(float));
}

struct Geometry {
  const Winograd& p;
  int64_t tilesH, tilesW, tiles;
  int64_t ld;  // row length of z
  explicit Geometry(const Winograd& w)
      : p(w),
        tilesH(ceilDiv(w.outH, w.m)),
        tilesW(ceilDiv(w.outW, w.m)),
        tiles(w.batch * tilesH * tilesW),
        ld(ceilDiv(w.out, kPanel) * kPanel) {}
};

// Tile t to v[point * stride + i].
template <int M>
void InputTile(const Geometry& g, int64_t t, float* v, int64_t stride) {
  constexpr int E = M + 2;
  const DF d;
  const Winograd& p = g.p;
  const int64_t b = t / (g.tilesH * g.tilesW), ty = t / g.tilesW % g.tilesH, tx = t % g.tilesW;
  const float* pixel[E][E];
  for (int y = 0; y < E; y++) {
    for (int x = 0; x < E; x++) {
      const int64_t iy = ty * M + y - p.pad, ix = tx * M + x - p.pad;
      const bool inside = iy >= 0 && ix >= 0 && iy < p.h * p.upsample && ix < p.w * p.upsample;
      pixel[y][x] = inside ? p.x + ((b * p.h + iy / p.upsample) * p.w + ix / p.upsample) * p.in : nullptr;
    }
  }
  for (int64_t c = 0; c < p.in; c += kLanes) {
    const int64_t n = p.in - c;
    VF mid[E][E];
    for (int x = 0; x < E; x++) {
      VF in[E], line[E];
      for (int y = 0; y < E; y++) in[y] = pixel[y][x] ? LoadSome(pixel[y][x] + c, n) : hn::Zero(d);
      InputLine<M>(in, line);
      for (int y = 0; y < E; y++) mid[y][x] = line[y];
    }
    for (int y = 0; y < E; y++) {
      VF line[E];
      InputLine<M>(mid[y], line);
      for (int x = 0; x < E; x++) StoreSome(line[x], v + (y * E + x) * stride + c, n);
    }
  }
}

// z[point * stride + o] of tile t to its output pixels.
template <int M>
void OutputTile(const Geometry& g, int64_t t, const float* z, int64_t stride) {
  constexpr int E = M + 2;
  const DF d;
  const Winograd& p = g.p;
  const int64_t b = t / (g.tilesH * g.tilesW), y0 = t / g.tilesW % g.tilesH * M, x0 = t % g.tilesW * M;
  const int rows = static_cast<int>(std::min<int64_t>(M, p.outH - y0)), cols = static_cast<int>(std::min<int64_t>(M, p.outW - x0));
  for (int64_t c = 0; c < p.out; c += kLanes) {
    const int64_t n = p.out - c;
    VF mid[M][E];
    for (int x = 0; x < E; x++) {
      VF in[E], line[M];
      for (int y = 0; y < E; y++) in[y] = hn::LoadU(d, z + (y * E + x) * stride + c);
      OutputLine<M>(in, line);
      for (int y = 0; y < M; y++) mid[y][x] = line[y];
    }
    const VF bias = p.bias ? LoadSome(p.bias + c, n) : hn::Zero(d);
    for (int y = 0; y < rows; y++) {
      VF line[M];
      OutputLine<M>(mid[y], line);
      for (int x = 0; x < cols; x++) {
        const int64_t at = ((b * p.outH + y0 + y) * p.outW + x0 + x) * p.out + c;
        VF r = hn::Add(line[x], bias);
        if (p.alpha != 1.0f) r = hn::Mul(r, hn::Set(d, p.alpha));
        if (p.residual) {
          const VF old = LoadSome(p.residual + at, n);
          r = p.beta == 1.0f ? hn::Add(r, old) : hn::MulAdd(hn::Set(d, p.beta), old, r);
        }
        StoreSome(r, p.y + at, n);
      }
    }
  }
}

// The product of one point: tiles [0, tiles) of v times panels [p0, p1).
Gemm PointGemm(const Geometry& g, int64_t point, int64_t tiles, const float* v, float* z, int64_t p0, int64_t p1) {
  const Winograd& p = g.p;
  Gemm one;
  one.m = tiles;
  one.n = (p1 - p0) * kPanel;
  one.k = p.in;
  one.a = v;
  one.lda = p.in;
  const int64_t panel = point * (g.ld / kPanel) + p0;
  one.w = static_cast<const char*>(p.weights) + panel * p.in * kPanel * static_cast<int64_t>(dtypeSize(p.dtype));
  one.dtype = p.dtype;
  one.c = z + p0 * kPanel;
  one.ldc = g.ld;
  return one;
}

template <int M>
void Blocks(Context& ctx, const Geometry& g) {
  constexpr int64_t kPoints = (M + 2) * (M + 2);
  const Winograd& p = g.p;
  const size_t own = static_cast<size_t>(gemmScratch(kBlockTiles, p.in));
  const int64_t vPlane = PlaneFloats(kBlockTiles, p.in), zPlane = PlaneFloats(kBlockTiles, g.ld);
  const size_t vFloats = static_cast<size_t>(kPoints * vPlane), zFloats = static_cast<size_t>(kPoints * zPlane);
  for (int t = 0; t < ctx.pool.threads(); t++) {
    ctx.perThread[t].floats(0, own);
    ctx.perThread[t].floats(1, vFloats);
    ctx.perThread[t].floats(2, zFloats);
  }
  ctx.pool.parallelFor(g.tiles, kBlockTiles, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = ctx.perThread[thread].floats(0, own);
    float* v = ctx.perThread[thread].floats(1, vFloats);
    float* z = ctx.perThread[thread].floats(2, zFloats);
    const int64_t count = end - begin;
    for (int64_t t = 0; t < count; t++) InputTile<M>(g, begin + t, v + t * p.in, vPlane);
    for (int64_t q = 0; q < kPoints; q++) {
      gemmSerial(PointGemm(g, q, count, v + q * vPlane, z + q * zPlane, 0, g.ld / kPanel), scratch);
    }
    for (int64_t t = 0; t < count; t++) OutputTile<M>(g, begin + t, z + t * g.ld, zPlane);
  });
}

template <int M>
void Steps(Context& ctx, const Geometry& g) {
  constexpr int64_t kPoints = (M + 2) * (M + 2);
  const Winograd& p = g.p;
  const size_t own = static_cast<size_t>(gemmScratch(g.tiles, p.in));
  const int64_t vPlane = PlaneFloats(g.tiles, p.in), zPlane = PlaneFloats(g.tiles, g.ld);
  float* v = ctx.shared.floats(1, static_cast<size_t>(kPoints * vPlane));
  float* z = ctx.shared.floats(2, static_cast<size_t>(kPoints * zPlane));
  for (int t = 0; t < ctx.pool.threads(); t++) ctx.perThread[t].floats(0, own);
  ctx.pool.parallelFor(g.tiles, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) InputTile<M>(g, t, v + t * p.in, vPlane);
  });
  const int64_t panels = g.ld / kPanel, parts = std::min<int64_t>(ceilDiv(panels, 4), ceilDiv(4 * ctx.pool.threads(), kPoints));
  const int64_t width = ceilDiv(panels, std::max<int64_t>(1, parts)), ranges = ceilDiv(panels, width);
  ctx.pool.parallelFor(kPoints * ranges, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = ctx.perThread[thread].floats(0, own);
    for (int64_t u = begin; u < end; u++) {
      const int64_t q = u / ranges, p0 = u % ranges * width;
      gemmSerial(PointGemm(g, q, g.tiles, v + q * vPlane, z + q * zPlane, p0, std::min(p0 + width, panels)), scratch);
    }
  });
  ctx.pool.parallelFor(g.tiles, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) OutputTile<M>(g, t, z + t * g.ld, zPlane);
  });
}

template <int M>
void Run(Context& ctx, const Winograd& p) {
  const Geometry g(p);
  if (g.tiles == 0 || p.out == 0) return;
  if (g.tiles <= kBlockTiles * std::min(4 * ctx.pool.threads(), 16)) {
    Steps<M>(ctx, g);
  } else {
    Blocks<M>(ctx, g);
  }
}

void WinogradRun(Context& ctx, const Winograd& p) {
  if (p.m == 2) {
    Run<2>(ctx, p);
  } else {
    Run<4>(ctx, p);
  }
}

// f64 lanes of the 16 output channels, a few at a time; no fused multiply-add, so that every instruction set gives the same weights.
template <int E>
void Weights(const double (&m)[E][3], const float* g, float* u) {
  const HWY_CAPPED(double, 16) d;
  const hn::Rebind<float, decltype(d)> df;
  using V = hn::Vec<decltype(d)>;
  const auto dot = [&](const double* c, V x, V y, V z) {
    return hn::Add(hn::Add(hn::Mul(hn::Set(d, c[0]), x), hn::Mul(hn::Set(d, c[1]), y)), hn::Mul(hn::Set(d, c[2]), z));
  };
  for (int64_t j = 0; j < kPanel; j += static_cast<int64_t>(hn::Lanes(d))) {
    V in[9], mid[E][3];
    for (int t = 0; t < 9; t++) in[t] = hn::PromoteTo(d, hn::Load(df, g + t * kPanel + j));
    for (int y = 0; y < E; y++) {
      for (int x = 0; x < 3; x++) mid[y][x] = dot(m[y], in[x], in[3 + x], in[6 + x]);
    }
    for (int y = 0; y < E; y++) {
      for (int x = 0; x < E; x++) hn::Store(hn::DemoteTo(df, dot(m[x], mid[y][0], mid[y][1], mid[y][2])), df, u + (y * E + x) * kPanel + j);
    }
  }
}

void WeightsRun(int m, const float* g, float* u) {
  if (m == 2) {
    Weights(kG2, g, u);
  } else {
    Weights(kG4, g, u);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(WinogradRun);
HWY_EXPORT(WeightsRun);

void winograd(Context& ctx, const Winograd& p) { HWY_DYNAMIC_DISPATCH(WinogradRun)(ctx, p); }

void winogradWeights(int m, const float* g, float* u) { HWY_DYNAMIC_DISPATCH(WeightsRun)(m, g, u); }

}  // namespace ns::cpu
#endif
