// Winograd convolution F(2x2,3x3) and F(4x4,3x3): input transform, (m+2)^2 products on packed panels, output transform.
// Floor: 2 tiles (m+2)^2 I O FLOP at the FMA peak; for few tiles streaming the transformed weights, (m+2)^2/9 of the original bytes.
// Layout: x, y NHWC; v and z as in Block, in the order of the kernel, so that nothing is copied between the steps. Many tiles: blocks of
// kBlockTiles per thread, all three steps in its scratch, z for kGroupPanels at a time. Few: each step is split over the threads. An
// output depends on its own tile only, so grouping does not show.
// Reference: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016 (matrices for points 0, 1, -1, 2, -2).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/winograd.cpp"
#include "native/cpu/winograd.h"

#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>

#include <algorithm>

#include "native/cpu/winograd_kernel-inl.h"
#include "native/cpu/winograd_transform-inl.h"

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

constexpr int64_t kBlockTiles = 28;  // v of 160 channels stays in a second-level cache of 1 MiB
constexpr int64_t kGroupPanels = 4;
constexpr int64_t kMostShared = 28;  // blocks whose v and z may lie in shared scratch, which is kept
constexpr int64_t kSegment = 160;    // channels of a unit of work of the input transform

// Distance between the planes of two points: an odd number of cache lines, or all points of a tile fall into a few cache sets.
int64_t PlaneFloats(int64_t tiles, int64_t width) {
  const int64_t lines = ceilDiv(tiles * width, 16);
  return (lines | 1) * 16;
}

struct Geometry {
  const Winograd& p;
  int64_t tilesH, tilesW, tiles;
  int64_t panels, channels;      // of the output; of the input, whole chunks of 16
  const float* zeros = nullptr;  // a pixel outside the image
  bool stream;                   // past the caches to y
  explicit Geometry(const Winograd& w)
      : p(w),
        tilesH(ceilDiv(w.outH, w.m)),
        tilesW(ceilDiv(w.outW, w.m)),
        tiles(w.batch * tilesH * tilesW),
        panels(ceilDiv(w.out, kPanel)),
        channels(ceilDiv(w.in, 16) * 16),
        stream(kLanes == 16 && streams(w.y, w.batch * w.outH * w.outW * w.out, w.out)) {}
};

// Transformed tiles [first, first + count): v [point][row tile][chunk of 16 channels][row][16], row tiles of nearly equal height; z
// [point][kernel's panels][tile][panels * 16].
struct Block {
  int64_t first, count, rowTiles;
  int64_t wide;  // panels per kernel
  int64_t vPlane, zPlane;
  float *v = nullptr, *z = nullptr;
  Block(const Geometry& g, int64_t first_, int64_t count_, int64_t panels)
      : first(first_),
        count(count_),
        rowTiles(ceilDiv(count_, kRows)),
        wide(ceilDiv(count_, rowTiles) <= kRows2 ? 2 : 1),
        vPlane(PlaneFloats(count, g.channels)),
        zPlane(PlaneFloats(count, panels * kPanel)) {}
  int64_t start(int64_t i) const { return count * i / rowTiles; }
  int64_t size(int64_t i) const { return start(i + 1) - start(i); }
};

// Where a tile lies: image, first output row and column.
struct Place {
  int64_t b, y, x;
  Place(const Geometry& g, int64_t index) {
    b = index / (g.tilesH * g.tilesW);
    y = index / g.tilesW % g.tilesH * g.p.m;
    x = index % g.tilesW * g.p.m;
  }
};

// The pixels under tile `index`.
template <int M>
void Pixels(const Geometry& g, int64_t index, const float** pixel) {
  constexpr int E = M + 2;
  const Winograd& p = g.p;
  const Place at(g, index);
  int64_t column[E];
  for (int k = 0; k < E; k++) {
    const int64_t x = at.x + k - p.pad;
    column[k] = x >= 0 && x < p.w * p.upsample ? x / p.upsample * p.in : -1;
  }
  for (int k = 0; k < E; k++, pixel += E) {
    const int64_t y = at.y + k - p.pad;
    const bool inside = y >= 0 && y < p.h * p.upsample;
    const float* row = p.x + (at.b * p.h + (inside ? y / p.upsample : 0)) * p.w * p.in;
    for (int x = 0; x < E; x++) pixel[x] = inside && column[x] >= 0 ? row + column[x] : g.zeros;
  }
}

// Channels [c0, c1) of row tile i to v.
template <int M>
void InputRows(const Geometry& g, const Block& block, int64_t i, int64_t c0, int64_t c1) {
  constexpr int E = M + 2;
  const int64_t start = block.start(i), size = block.size(i);
  const float* pixel[kRows * E * E];
  for (int64_t t = 0; t < size; t++) Pixels<M>(g, block.first + start + t, pixel + t * E * E);
  float* v = block.v + start * g.channels;
  for (int64_t c = c0; c < c1; c += kLanes) {
    for (int64_t t = 0; t < size; t++) {
      const bool last = t + 1 == size;
      const float *const *now = pixel + t * E * E, *const *next = last ? pixel : now + E * E;
      float* to = v + c / 16 * 16 * size + t * 16 + c % 16;
      if (c + kLanes <= c1) {
        InputVector<M, false>(now, c, next, last ? c + kLanes : c, kLanes, to, block.vPlane);
      } else {
        InputVector<M, true>(now, c, next, c, c1 - c, to, block.vPlane);
      }
    }
  }
}

// The points of tile first + t, channels [c0, c1), to their pixels; z holds them at z + point * zPlane.
template <int M>
void OutputChannels(const Geometry& g, const Block& block, int64_t t, const float* z, int64_t c0, int64_t c1) {
  const Winograd& p = g.p;
  const Place at(g, block.first + t);
  const int64_t pixel = ((at.b * p.outH + at.y) * p.outW + at.x) * p.out;
  const int rows = static_cast<int>(std::min<int64_t>(M, p.outH - at.y)), cols = static_cast<int>(std::min<int64_t>(M, p.outW - at.x));
  const float* residual = p.residual ? p.residual + pixel : nullptr;
  float* y = p.y + pixel;
  int64_t c = c0;
  for (; c + kLanes <= c1; c += kLanes, z += kLanes) {
    const float *bias = p.bias ? p.bias + c : nullptr, *r = residual ? residual + c : nullptr;
    if (rows < M || cols < M) {
      OutputVector<M, false, false>(p, z, block.zPlane, bias, r, y + c, rows, cols, kLanes);
    } else if (g.stream) {
      OutputVector<M, false, true>(p, z, block.zPlane, bias, r, y + c, M, M, kLanes);
    } else {
      OutputVector<M, false, false>(p, z, block.zPlane, bias, r, y + c, M, M, kLanes);
    }
  }
  if (c < c1) {
    const float *bias = p.bias ? p.bias + c : nullptr, *r = residual ? residual + c : nullptr;
    OutputVector<M, true, false>(p, z, block.zPlane, bias, r, y + c, rows, cols, c1 - c);
  }
}

// Panels [p0, p1) of tiles [t0, t1) of the block to y.
template <int M>
void Output(const Geometry& g, const Block& block, int64_t t0, int64_t t1, int64_t p0, int64_t p1) {
  for (int64_t p = p0; p < p1; p += block.wide) {
    const int64_t width = std::min(block.wide, p1 - p) * kPanel, c = p * kPanel;
    const float* z = block.z + (p - p0) * kPanel * block.count;
    for (int64_t t = t0; t < t1; t++) OutputChannels<M>(g, block, t, z + t * width, c, std::min(c + width, g.p.out));
  }
}

// Memory is idle while the products run: what the transforms will read is fetched then, a few lines before each kernel, because many at
// once would keep its own loads waiting.
class Fetch {
 public:
  Fetch() = default;
  // The input of tiles [first, first + count), in `parts` steps.
  static Fetch input(const Geometry& g, int64_t first, int64_t count, int64_t parts) {
    const Winograd& p = g.p;
    return Fetch(g, first, std::min(first + count, g.tiles), p.m + 2, ceilDiv(ceilDiv(p.m, p.upsample) * p.in, 16), -1, parts);
  }
  // The residual of panels [p0, p1) of the block.
  static Fetch residual(const Geometry& g, const Block& block, int64_t p0, int64_t p1, int64_t parts) {
    return Fetch(g, block.first, g.p.residual ? block.first + block.count : 0, g.p.m * g.p.m, p1 - p0, p0 * kPanel, parts);
  }
  void step() {
    for (int64_t i = 0; i < perStep_; i++, line_++) {
      if (line_ == lines_ && !nextRun()) return;
      __builtin_prefetch(from_ + line_ * 16, 0, 2);
    }
  }

 private:
  Fetch(const Geometry& g, int64_t first, int64_t end, int64_t runs, int64_t lines, int64_t channel, int64_t parts)
      : g_(&g),
        tile_(first),
        end_(end),
        runs_(runs),
        lines_(lines),
        line_(lines),
        channel_(channel),
        perStep_(first < end ? ceilDiv((end - first) * runs * lines, parts) : 0) {}
  bool nextRun() {
    const Winograd& p = g_->p;
    if (++run_ == runs_) {
      run_ = 0;
      tile_++;
    }
    if (tile_ >= end_) {
      perStep_ = 0;
      return false;
    }
    const Place at(*g_, tile_);
    if (channel_ < 0) {
      const int64_t y = std::clamp<int64_t>(at.y + run_ - p.pad, 0, p.h * p.upsample - 1) / p.upsample;
      const int64_t x = std::min((at.x + 1) / p.upsample, p.w - 1);
      from_ = p.x + ((at.b * p.h + y) * p.w + x) * p.in;
    } else {
      const int64_t y = std::min(at.y + run_ / p.m, p.outH - 1), x = std::min(at.x + run_ % p.m, p.outW - 1);
      from_ = p.residual + ((at.b * p.outH + y) * p.outW + x) * p.out + channel_;
    }
    line_ = 0;
    return true;
  }
  const Geometry* g_ = nullptr;
  const float* from_ = nullptr;
  int64_t tile_ = 0, end_ = 0, runs_ = 0, run_ = -1;  // a run: contiguous pixels or channels
  int64_t lines_ = 0, line_ = 0, channel_ = -1, perStep_ = 0;
};

// Tiles of the block times panels [p0, p1) at one point. z: of panel p0. next: the panel after that, fetched at the end.
void Product(const Geometry& g, const Block& block, int64_t point, int64_t p0, int64_t p1, float* z, int64_t next, Fetch* input,
             Fetch* residual) {
  const Winograd& p = g.p;
  const int64_t element = static_cast<int64_t>(dtypeSize(p.dtype)), panelBytes = p.in * kPanel * element;
  const int64_t step = std::max<int64_t>(16, (blockK(p.in) + 15) / 16 * 16);
  const float* v = block.v + point * block.vPlane;
  for (int64_t j = p0; j < p1; j += block.wide) {
    const int64_t panels = std::min(block.wide, p1 - j), index = point * g.panels + j;
    const char* w = static_cast<const char*>(p.weights) + index * panelBytes;
    const int64_t jump = (j + block.wide < p1 ? panels : next - index) * panelBytes;
    for (int64_t i = 0; i < block.rowTiles; i++) {
      const int rows = static_cast<int>(block.size(i));
      float* to = z + (j - p0) * kPanel * block.count + block.start(i) * panels * kPanel;
      input->step();
      residual->step();
      for (int64_t k0 = 0; k0 == 0 || k0 < p.in; k0 += step) {
        PickPointKernel(p.dtype, static_cast<int>(panels), rows)(v + block.start(i) * g.channels + k0 * rows, w + k0 * kPanel * element,
                                                                 p.in * kPanel, std::min(step, p.in - k0),
                                                                 i + 1 < block.rowTiles ? kPrefetchBytes : jump, k0 > 0, to);
      }
    }
  }
}

template <int M>
void Blocks(Context& ctx, const Geometry& g, int64_t blockTiles, int64_t group) {
  constexpr int64_t kPoints = (M + 2) * (M + 2);
  const Block most(g, 0, blockTiles, group);
  const size_t vFloats = static_cast<size_t>(kPoints * most.vPlane), zFloats = static_cast<size_t>(kPoints * most.zPlane);
  for (int t = 0; t < ctx.pool.threads(); t++) {
    ctx.perThread[t].floats(1, vFloats);
    ctx.perThread[t].floats(2, zFloats);
  }
  ctx.pool.parallelFor(g.tiles, blockTiles, [&](int64_t begin, int64_t end, int thread) {
    Block block(g, begin, end - begin, group);
    block.v = ctx.perThread[thread].floats(1, vFloats);
    block.z = ctx.perThread[thread].floats(2, zFloats);
    for (int64_t i = 0; i < block.rowTiles; i++) InputRows<M>(g, block, i, 0, g.p.in);
    const int64_t kernels = kPoints * block.rowTiles;
    Fetch input = Fetch::input(g, begin + ctx.pool.threads() * blockTiles, blockTiles, kernels * ceilDiv(g.panels, block.wide));
    for (int64_t p0 = 0, p1; p0 < g.panels; p0 = p1) {
      p1 = std::min(p0 + group, g.panels);
      Fetch residual = Fetch::residual(g, block, p0, p1, kernels * ceilDiv(p1 - p0, block.wide));
      for (int64_t q = 0; q < kPoints; q++) {
        Product(g, block, q, p0, p1, block.z + q * block.zPlane, q + 1 < kPoints ? (q + 1) * g.panels + p0 : p1 % g.panels, &input,
                &residual);
      }
      Output<M>(g, block, 0, block.count, p0, p1);
    }
    if (g.stream) hwy::FlushStream();
  });
}

template <int M>
void Steps(Context& ctx, const Geometry& g) {
  constexpr int64_t kPoints = (M + 2) * (M + 2);
  Block block(g, 0, g.tiles, g.panels);
  block.v = ctx.shared.floats(1, static_cast<size_t>(kPoints * block.vPlane));
  block.z = ctx.shared.floats(2, static_cast<size_t>(kPoints * block.zPlane));
  const int64_t segments = ceilDiv(g.p.in, kSegment);
  ctx.pool.parallelFor(block.rowTiles * segments, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; u++) {
      const int64_t c = u % segments * kSegment;
      InputRows<M>(g, block, u / segments, c, std::min(c + kSegment, g.p.in));
    }
  });
  const int64_t pairs = ceilDiv(g.panels, block.wide);
  const int64_t parts = std::min<int64_t>(ceilDiv(pairs, 2), ceilDiv(4 * ctx.pool.threads(), kPoints));
  const int64_t width = ceilDiv(pairs, std::max<int64_t>(1, parts)) * block.wide, ranges = ceilDiv(g.panels, width);
  ctx.pool.parallelFor(kPoints * ranges, 1, [&](int64_t begin, int64_t end, int) {
    Fetch none;
    for (int64_t u = begin; u < end; u++) {
      const int64_t q = u / ranges, p0 = u % ranges * width, p1 = std::min(p0 + width, g.panels);
      Product(g, block, q, p0, p1, block.z + q * block.zPlane + p0 * kPanel * block.count, q * g.panels + p1, &none, &none);
    }
  });
  ctx.pool.parallelFor(g.tiles, 1, [&](int64_t begin, int64_t end, int) {
    Output<M>(g, block, begin, end, 0, g.panels);
    if (g.stream) hwy::FlushStream();
  });
}

template <int M>
void Run(Context& ctx, const Winograd& p) {
  Geometry g(p);
  if (g.tiles == 0 || p.out == 0) return;
  float* zeros = ctx.shared.floats(0, static_cast<size_t>(g.channels));
  std::fill_n(zeros, g.channels, 0.0f);
  g.zeros = zeros;
  const int64_t blocks = ceilDiv(g.tiles, kBlockTiles);
  if (blocks < std::min<int64_t>(4 * ctx.pool.threads(), kMostShared)) {
    Steps<M>(ctx, g);
  } else {
    Blocks<M>(ctx, g, ceilDiv(g.tiles, blocks), std::min(kGroupPanels, g.panels));
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
