// Weight gradient of a 3x3 convolution with stride 1 by Winograd F(2x2, 3x3): tiles of 4x4 of x and 2x2 of dy are transformed, multiplied
// point by point over all tiles (16 k-major products), and the sums transformed back: dw = G^T (sum (A dy A^T) (B^T x B)) G.
// Floor: 2 tiles 16 I O FLOP at the FMA peak, 2.25 times less than direct; transforms of about 50 vector operations per tile and 16
// channels. A unit of work is (chunk of tiles, range of n, range of panels): it transforms its channels of a few tiles, multiplies them and
// keeps the sums of all points, everything in the second-level cache. Nothing but the sums goes to memory. Layout: x, dy NHWC. Order of
// summation: gemm_tn.h with tiles as rows, in blocks of kGradTiles. Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural
// Networks", 2016; the gradient is the transpose of its equation 8.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/winograd_grad.cpp"
#include "native/cpu/winograd_grad.h"

#include <hwy/foreach_target.h>

#include <algorithm>

#include "native/cpu/gemm_tn_kernel-inl.h"
#include "native/cpu/simd_loop-inl.h"

#ifndef NS_CPU_WINOGRAD_GRAD_CPP_ONCE_
#define NS_CPU_WINOGRAD_GRAD_CPP_ONCE_
namespace ns::cpu {
constexpr int64_t kGradTiles = 32;  // per block
constexpr int64_t kGradAhead = 8;   // pixels that the transforms fetch in advance
constexpr int64_t kGradPoints = 16;
constexpr int64_t kUnitRows = 84;   // of n per unit
constexpr int64_t kUnitPanels = 5;  // per unit
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kStrip = kGradTiles * 16;  // floats of one tile of n, or one panel, at one point

// Floats between the planes of two points: an odd number of cache lines, or all points of a tile fall into a few cache sets.
constexpr int64_t Plane(int64_t strips) { return (strips * kStrip / 16 | 1) * 16; }

struct GradUnit {
  int64_t t0, t1, p0, p1;
  int64_t aPlane, wPlane;
  float *a, *w, *acc;
};

// Where tile `index` lies: image and first output pixel.
struct Place {
  int64_t b, y, x;
  Place(const WinogradGrad& g, int64_t index) {
    const int64_t across = (g.outW + 1) / 2, down = (g.outH + 1) / 2;
    b = index / (across * down);
    y = index / across % down * 2;
    x = index % across * 2;
  }
};

// B^T d B of the panels of a unit.
void InputTile(const WinogradGrad& g, const GradUnit& u, int64_t index, int64_t slot) {
  const DF d;
  const Place at(g, index);
  const float* pixel[16];
  for (int64_t i = 0; i < 16; i++) {
    const int64_t iy = at.y + i / 4 - g.pad, ix = at.x + i % 4 - g.pad;
    const bool inside = iy >= 0 && ix >= 0 && iy < g.h * g.upsample && ix < g.w * g.upsample;
    pixel[i] = inside ? g.x + ((at.b * g.h + iy / g.upsample) * g.w + ix / g.upsample) * g.in : nullptr;
  }
  const int64_t end = std::min(u.p1 * kPanel, g.in);
  for (int64_t c = u.p0 * kPanel; c < u.p1 * kPanel; c += kLanes) {
    const int64_t left = end - c;
    VF mid[16];
    for (int x = 0; x < 4; x++) {
      VF in[4];
      for (int y = 0; y < 4; y++) {
        const float* from = pixel[y * 4 + x];
        if (from && x >= 2) __builtin_prefetch(from + c + kGradAhead * g.in);
        in[y] = !from || left <= 0 ? hn::Zero(d)
                : left >= kLanes   ? hn::LoadU(d, from + c)
                                   : LoadPart(d, from + c, static_cast<size_t>(left), 0.0f);
      }
      mid[x] = hn::Sub(in[0], in[2]);
      mid[4 + x] = hn::Add(in[1], in[2]);
      mid[8 + x] = hn::Sub(in[2], in[1]);
      mid[12 + x] = hn::Sub(in[1], in[3]);
    }
    float* to = u.w + ((c / kPanel - u.p0) * kGradTiles + slot) * kPanel + c % kPanel;
    for (int y = 0; y < 4; y++, to += 4 * u.wPlane) {
      const VF* m = mid + y * 4;
      hn::Store(hn::Sub(m[0], m[2]), d, to);
      hn::Store(hn::Add(m[1], m[2]), d, to + u.wPlane);
      hn::Store(hn::Sub(m[2], m[1]), d, to + 2 * u.wPlane);
      hn::Store(hn::Sub(m[1], m[3]), d, to + 3 * u.wPlane);
    }
  }
}

// A dy A^T of the tiles of n of a unit, in padded rows; whole vectors are read where that stays inside dy.
void OutputTile(const WinogradGrad& g, const TnTiles& t, const GradUnit& u, int64_t index, int64_t slot) {
  const DF d;
  const Place at(g, index);
  const float* end = g.dy + g.batch * g.outH * g.outW * g.n;
  const float* pixel[4];
  for (int64_t i = 0; i < 4; i++) {
    const int64_t y = at.y + i / 2, x = at.x + i % 2;
    pixel[i] = y < g.outH && x < g.outW ? g.dy + ((at.b * g.outH + y) * g.outW + x) * g.n : nullptr;
  }
  for (int64_t i = u.t0; i < u.t1; i++) {
    const int64_t n0 = t.start(i), size = t.size(i);
    float* to = u.a + (i - u.t0) * kStrip + slot * PaddedRows(static_cast<int>(size));
    for (int64_t r = 0; r < size; r += kLanes) {
      VF v[4];
      for (int k = 0; k < 4; k++) {
        const float* from = pixel[k] ? pixel[k] + n0 + r : nullptr;
        if (from) __builtin_prefetch(from + kGradAhead * g.n);
        v[k] = !from ? hn::Zero(d) : end - from >= kLanes ? hn::LoadU(d, from) : LoadPart(d, from, static_cast<size_t>(size - r), 0.0f);
      }
      const VF left[4] = {v[0], hn::Add(v[0], v[2]), hn::Sub(v[0], v[2]), hn::Neg(v[2])};
      const VF right[4] = {v[1], hn::Add(v[1], v[3]), hn::Sub(v[1], v[3]), hn::Neg(v[3])};
      float* line = to + r;
      for (int y = 0; y < 4; y++, line += 4 * u.aPlane) {
        hn::StoreU(left[y], d, line);
        hn::StoreU(hn::Add(left[y], right[y]), d, line + u.aPlane);
        hn::StoreU(hn::Sub(left[y], right[y]), d, line + 2 * u.aPlane);
        hn::StoreU(hn::Neg(right[y]), d, line + 3 * u.aPlane);
      }
    }
  }
}

// Sums of the unit: [point][column group][n][panels * 16].
void MultiplyPoints(const TnTiles& t, const GradUnit& u, const Segments& s) {
  const int64_t columns = u.p1 - u.p0, n0 = t.start(u.t0), n = t.start(u.t1) - n0;
  for (int64_t q = 0; q < kGradPoints; q++) {
    const float* a = u.a + q * u.aPlane;
    const float* w = u.w + q * u.wPlane;
    float* acc = u.acc + q * n * columns * kPanel;
    for (int64_t c = 0, panels; c < columns; c += panels) {
      panels = PanelsAt(t, c, columns);
      const float* from[kMaxPanels];
      for (int64_t j = 0; j < panels; j++) from[j] = w + (c + j) * kStrip;
      for (int64_t i = u.t0; i < u.t1; i++) {
        PickTnKernel(static_cast<int>(panels), t.size(i))(a + (i - u.t0) * kStrip, from, s, kPanel,
                                                          acc + (c * n + (t.start(i) - n0) * panels) * kPanel);
      }
    }
  }
}

// G^T u G of one line of 4.
HWY_INLINE void BackLine(VF u0, VF u1, VF u2, VF u3, VF* to, int stride) {
  const VF half = hn::Set(DF(), 0.5f), sum = hn::Mul(half, hn::Add(u1, u2));
  to[0] = hn::Add(u0, sum);
  to[stride] = hn::Mul(half, hn::Sub(u1, u2));
  to[2 * stride] = hn::Add(sum, u3);
}

void StorePoints(const TnProduct& p, const TnTiles& t, const GradUnit& u, float* sums) {
  const DF d;
  const int64_t columns = u.p1 - u.p0, n0 = t.start(u.t0), n = t.start(u.t1) - n0, plane = n * columns * kPanel;
  for (int64_t r = 0; r < n; r++) {
    for (int64_t c = 0, panels; c < columns; c += panels) {
      panels = PanelsAt(t, c, columns);
      for (int64_t j = 0; j < panels * kPanel; j += kLanes) {
        const float* s = u.acc + (c * n + r * panels) * kPanel + j;
        VF mid[12], out[9];
        for (int x = 0; x < 4; x++) {
          BackLine(hn::Load(d, s + x * plane), hn::Load(d, s + (4 + x) * plane), hn::Load(d, s + (8 + x) * plane),
                   hn::Load(d, s + (12 + x) * plane), mid + x, 4);
        }
        for (int y = 0; y < 3; y++) BackLine(mid[y * 4], mid[y * 4 + 1], mid[y * 4 + 2], mid[y * 4 + 3], out + y * 3, 1);
        float* to = sums + (n0 + r) * p.columns() * kPanel + (u.p0 + c + j / kPanel) * 9 * kPanel + j % kPanel;
        for (int tap = 0; tap < 9; tap++) hn::StoreU(out[tap], d, to + tap * kPanel);
      }
    }
  }
}

void RunGradUnit(const WinogradGrad& g, const TnProduct& p, const TnTiles& t, const GradUnit& u, int64_t chunk, float* sums) {
  int64_t start = 0;
  Segments s;
  s.count = 1;
  s.start = &start;
  std::fill_n(u.acc, kGradPoints * (t.start(u.t1) - t.start(u.t0)) * (u.p1 - u.p0) * kPanel, 0.0f);
  const int64_t last = std::min((chunk + 1) * p.chunk * kGradTiles, p.rows);
  for (int64_t i = chunk * p.chunk * kGradTiles; i < last; i += kGradTiles) {
    s.length = std::min(kGradTiles, last - i);
    for (int64_t k = 0; k < s.length; k++) OutputTile(g, t, u, i + k, k);
    for (int64_t k = 0; k < s.length; k++) InputTile(g, u, i + k, k);
    MultiplyPoints(t, u, s);
  }
  StorePoints(p, t, u, sums);
}

void GradParallel(Context& ctx, const WinogradGrad& g, const TnProduct& p, float* sums) {
  const TnTiles t(p.n);
  const int64_t tileGroups = ceilDiv(t.count, std::max<int64_t>(1, kUnitRows / kRows)), tiles = ceilDiv(t.count, tileGroups);
  const int64_t panelGroups = ceilDiv(p.panels, kUnitPanels), panels = ceilDiv(p.panels, panelGroups);
  const int64_t aPlane = Plane(tiles), wPlane = Plane(panels);
  const size_t a = static_cast<size_t>(kGradPoints * aPlane), w = static_cast<size_t>(kGradPoints * wPlane);
  const size_t acc = static_cast<size_t>(kGradPoints * tiles * kRows * panels * kPanel);
  for (int i = 0; i < ctx.pool.threads(); i++) {
    ctx.perThread[i].floats(0, a);
    ctx.perThread[i].floats(1, w);
    ctx.perThread[i].floats(2, acc);
  }
  const int64_t parts = tileGroups * panelGroups;
  ctx.pool.parallelFor(p.chunks() * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    GradUnit u;
    u.aPlane = aPlane;
    u.wPlane = wPlane;
    u.a = ctx.perThread[thread].floats(0, a);
    u.w = ctx.perThread[thread].floats(1, w);
    u.acc = ctx.perThread[thread].floats(2, acc);
    for (int64_t i = begin; i < end; i++) {
      const int64_t chunk = i / parts, part = i % parts;
      u.t0 = part / panelGroups * tiles;
      u.t1 = std::min(u.t0 + tiles, t.count);
      u.p0 = part % panelGroups * panels;
      u.p1 = std::min(u.p0 + panels, p.panels);
      if (u.t0 < u.t1 && u.p0 < u.p1) RunGradUnit(g, p, t, u, chunk, sums + chunk * p.n * p.columns() * kPanel);
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {

HWY_EXPORT(GradParallel);

bool winogradGradPays(const WinogradGrad& g) {
  return g.in >= 16 && g.n >= 16 && g.outH >= 2 && g.outW >= 2 && g.batch * g.outH * g.outW >= 4 * kGradTiles;
}

const float* winogradGrad(Context& ctx, const WinogradGrad& g, TnProduct& p) {
  p.rows = g.batch * ceilDiv(g.outH, 2) * ceilDiv(g.outW, 2);
  p.n = g.n;
  p.panels = ceilDiv(g.in, kPanel);
  p.taps = 9;
  p.block = kGradTiles;
  p.chunk = ceilDiv(p.blocks(), std::min(tnChunks(4 * p.rows, g.n, p.columns()), p.blocks()));
  float* sums = ctx.shared.floats(0, static_cast<size_t>(p.chunks() * p.n * p.columns() * kPanel));
  HWY_DYNAMIC_DISPATCH(GradParallel)(ctx, g, p, sums);
  return sums;
}

}  // namespace ns::cpu
#endif
