// Driver of the k-major product under weight gradients: blocking, splitting over the pool; column sums for the bias.
// Floor: 2 rows n columns*16 FLOP at the FMA peak; for few rows, reading and writing the output once.
// A unit of work is (chunk, range of n, range of panels): it packs its part of dy as tiles [row][up to 14 n] and its panels block by block
// and adds tile by tile into its part of the output, so units never meet. Layout and exactness rule: gemm_tn.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/gemm_tn.cpp"
#include <hwy/foreach_target.h>

#include <algorithm>

#include "native/cpu/gemm_tn_kernel-inl.h"
#include "native/cpu/simd_loop-inl.h"

#ifndef NS_CPU_GEMM_TN_CPP_ONCE_
#define NS_CPU_GEMM_TN_CPP_ONCE_
namespace ns::cpu {
constexpr int64_t kTnGap = 16;      // floats that packing may spill behind a tile
constexpr int64_t kTnRows = 196;    // of n per unit
constexpr int64_t kTnColumns = 16;  // per unit, of one tap
constexpr int64_t kSumRows = 256;   // block of columnSums
constexpr int64_t kUnitsPerThread = 4;
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {

// [0, n) cut into tiles of nearly equal height.
struct TnTiles {
  int64_t n, count;
  explicit TnTiles(int64_t rows) : n(rows), count(ceilDiv(rows, kRows)) {}
  int64_t start(int64_t i) const { return n * i / count; }
  int size(int64_t i) const { return static_cast<int>(start(i + 1) - start(i)); }
};

// How the output is cut into units.
struct Cut {
  int64_t tiles, panels;            // per unit
  int64_t tileGroups, panelGroups;  // how many of them
  Cut(const TnProduct& p, const TnTiles& t, int threads) {
    tiles = std::max<int64_t>(1, kTnRows / kRows);
    panels = p.taps >= 4 ? 2 : kTnColumns;
    const int64_t wanted = kUnitsPerThread * threads, least = p.taps >= 4 ? 1 : 4;
    for (;;) {
      tileGroups = ceilDiv(t.count, tiles);
      panelGroups = ceilDiv(p.panels, panels);
      if (p.chunks() * tileGroups * panelGroups >= wanted) break;
      if (panels > least) {
        panels = std::max(least, panels / 2);
      } else if (tiles > 2) {
        tiles = (tiles + 1) / 2;
      } else {
        break;
      }
    }
    tiles = ceilDiv(t.count, tileGroups);
    panels = ceilDiv(p.panels, panelGroups);
  }
};

struct Unit {
  int64_t t0, t1, p0, p1;
  float *a, *w;
  Segments segments;
};

int64_t TileAt(const TnTiles& t, const Unit& u, int64_t i, int64_t rows) {
  return (t.start(i) - t.start(u.t0)) * rows + (i - u.t0) * kTnGap;
}

// c[r][column * 16 ...] = or += alpha * tile.
void AddTile(const TnProduct& p, float* sums, const float* tile, int64_t n0, int rows, int64_t column, int panels, bool first) {
  const DF d;
  const int64_t ld = p.dw ? p.cols : p.columns() * kPanel;
  const int64_t valid = std::min<int64_t>(panels * kPanel, ld - column * kPanel);
  const VF alpha = hn::Set(d, p.alpha);
  for (int r = 0; r < rows; r++) {
    float* c = (p.dw ? p.dw : sums) + (n0 + r) * ld + column * kPanel;
    const float* s = tile + r * panels * kPanel;
    int64_t j = 0;
    for (; j + kLanes <= valid; j += kLanes) {
      const VF v = hn::Load(d, s + j);
      hn::StoreU(p.dw ? hn::MulAdd(alpha, v, hn::LoadU(d, c + j)) : first ? v : hn::Add(hn::LoadU(d, c + j), v), d, c + j);
    }
    if (j < valid) {
      const size_t rest = static_cast<size_t>(valid - j);
      StorePart(d, hn::MulAdd(alpha, hn::Load(d, s + j), LoadPart(d, c + j, rest, 0.0f)), c + j, rest);
    }
  }
}

void MultiplyBlock(const TnProduct& p, const TnTiles& t, const Unit& u, float* sums, int64_t rows, bool first) {
  HWY_ALIGN float tile[kRows * 2 * 16 > kRows4 * 64 ? kRows * 2 * 16 : kRows4 * 64];
  const int wide = PanelsFor(static_cast<int>(ceilDiv(t.n, t.count)));
  const int64_t columns = (u.p1 - u.p0) * p.taps;
  for (int64_t c = 0; c < columns;) {
    const int panels = columns - c >= wide ? wide : (wide == 4 && columns - c >= 2) ? 2 : 1;
    const float* from[kMaxPanels];
    for (int i = 0; i < panels; i++) from[i] = u.w + (c + i) / p.taps * p.panelFloats + p.tapAt[(c + i) % p.taps];
    for (int64_t i = u.t0; i < u.t1; i++) {
      const int size = t.size(i);
      PickTnKernel(panels, size)(u.a + TileAt(t, u, i, rows), from, u.segments, p.step, tile);
      AddTile(p, sums, tile, t.start(i), size, u.p0 * p.taps + c, panels, first);
    }
    c += panels;
  }
}

void RunUnit(const TnProduct& p, const TnTiles& t, Unit& u, int64_t chunk, float* sums) {
  const int64_t first = chunk * p.chunk, last = std::min(first + p.chunk, p.blocks());
  const float* end = p.dy + p.rows * p.n;
  for (int64_t b = first; b < last; b++) {
    const int64_t m0 = b * p.block, rows = std::min(p.block, p.rows - m0);
    for (int64_t i = u.t0; i < u.t1; i++) {
      PackNarrow(p.dy + m0 * p.n + t.start(i), p.n, rows, t.size(i), end, u.a + TileAt(t, u, i, rows));
    }
    p.pack(p.source, m0, rows, u.p0, u.p1, u.w, u.segments);
    MultiplyBlock(p, t, u, sums, rows, b == first);
  }
}

void TnParallel(Context& ctx, const TnProduct& p, float* sums) {
  const int threads = ctx.pool.threads();
  const TnTiles t(p.n);
  const Cut cut(p, t, threads);
  const size_t a = static_cast<size_t>(cut.tiles * (p.block * kRows + kTnGap)),
               w = static_cast<size_t>(cut.panels * p.panelFloats + p.extra);
  const size_t runs = static_cast<size_t>(p.runs) * sizeof(int64_t);
  for (int i = 0; i < threads; i++) {
    ctx.perThread[i].floats(0, a);
    ctx.perThread[i].floats(1, w);
    ctx.perThread[i].bytes(2, runs);
  }
  const int64_t parts = cut.tileGroups * cut.panelGroups;
  ctx.pool.parallelFor(p.chunks() * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    Unit u;
    u.a = ctx.perThread[thread].floats(0, a);
    u.w = ctx.perThread[thread].floats(1, w);
    u.segments.start = static_cast<int64_t*>(ctx.perThread[thread].bytes(2, runs));
    for (int64_t i = begin; i < end; i++) {
      const int64_t chunk = i / parts, part = i % parts;
      u.t0 = part / cut.panelGroups * cut.tiles;
      u.t1 = std::min(u.t0 + cut.tiles, t.count);
      u.p0 = part % cut.panelGroups * cut.panels;
      u.p1 = std::min(u.p0 + cut.panels, p.panels);
      if (u.t0 < u.t1 && u.p0 < u.p1) RunUnit(p, t, u, chunk, sums + chunk * p.n * p.columns() * kPanel);
    }
  });
}

// Sums of the columns of rows [0, count) of x, in one chain each.
void ColumnBlock(const float* x, int64_t count, int64_t n, float* HWY_RESTRICT dst) {
  const DF d;
  int64_t j = 0;
  for (; j + 4 * kLanes <= n; j += 4 * kLanes) {
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t m = 0; m < count; m++) {
      const float* row = x + m * n + j;
      s0 = hn::Add(s0, hn::LoadU(d, row));
      s1 = hn::Add(s1, hn::LoadU(d, row + kLanes));
      s2 = hn::Add(s2, hn::LoadU(d, row + 2 * kLanes));
      s3 = hn::Add(s3, hn::LoadU(d, row + 3 * kLanes));
    }
    hn::StoreU(s0, d, dst + j);
    hn::StoreU(s1, d, dst + j + kLanes);
    hn::StoreU(s2, d, dst + j + 2 * kLanes);
    hn::StoreU(s3, d, dst + j + 3 * kLanes);
  }
  for (; j + kLanes <= n; j += kLanes) {
    VF s = hn::Zero(d);
    for (int64_t m = 0; m < count; m++) s = hn::Add(s, hn::LoadU(d, x + m * n + j));
    hn::StoreU(s, d, dst + j);
  }
  if (j < n) {
    const size_t rest = static_cast<size_t>(n - j);
    VF s = hn::Zero(d);
    for (int64_t m = 0; m < count; m++) s = hn::Add(s, LoadPart(d, x + m * n + j, rest, 0.0f));
    StorePart(d, s, dst + j, rest);
  }
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {

HWY_EXPORT(TnParallel);
HWY_EXPORT(ColumnBlock);

int64_t tnBlockRows(int64_t n) { return n <= 32 ? 1024 : 256; }

int64_t tnChunks(int64_t rows, int64_t n, int64_t columns) {
  const int64_t area = std::max<int64_t>(1, n * columns * kPanel);
  const int64_t byRows = rows / (area <= 1 << 16 ? 1024 : 4096), byMemory = (1 << 21) / area;
  return std::clamp<int64_t>(std::min(byRows, byMemory), 1, 16);
}

const float* gemmTn(Context& ctx, const TnProduct& p) {
  if (p.rows <= 0 || p.n <= 0 || p.panels <= 0) return nullptr;
  float* sums = p.dw ? nullptr : ctx.shared.floats(0, static_cast<size_t>(p.chunks() * p.n * p.columns() * kPanel));
  HWY_DYNAMIC_DISPATCH(TnParallel)(ctx, p, sums);
  return sums;
}

void tnSum(const TnProduct& p, const float* sums, int64_t n, int64_t from, int64_t count, float* dst) {
  const int64_t ld = p.columns() * kPanel;
  for (int64_t chunk = 0; chunk < p.chunks(); chunk++) {
    const float* s = sums + (chunk * p.n + n) * ld + from;
    if (chunk == 0) {
      std::copy_n(s, count, dst);
    } else {
      for (int64_t i = 0; i < count; i++) dst[i] += s[i];
    }
  }
}

void columnSums(Context& ctx, const float* dy, int64_t rows, int64_t n, float alpha, float* dst) {
  if (rows <= 0 || n <= 0) return;
  const int64_t blocks = ceilDiv(rows, kSumRows);
  float* sums = ctx.shared.floats(1, static_cast<size_t>(blocks * n));
  ctx.pool.parallelFor(blocks, 65536 / (kSumRows * n) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; b++) {
      HWY_DYNAMIC_DISPATCH(ColumnBlock)(dy + b * kSumRows * n, std::min(kSumRows, rows - b * kSumRows), n, sums + b * n);
    }
  });
  for (int64_t b = 1; b < blocks; b++) {
    for (int64_t j = 0; j < n; j++) sums[j] += sums[b * n + j];
  }
  for (int64_t j = 0; j < n; j++) dst[j] += alpha * sums[j];
}

}  // namespace ns::cpu
#endif
