// Driver of the k-major product under weight gradients: blocking, splitting over the pool; column sums for the bias.
// Floor: 2 rows n columns*16 FLOP at the FMA peak; for few rows, reading and writing the output once.
// A unit of work is (chunk, range of n, range of panels): it packs its part of dy as tiles [row][up to 14 n] and its panels block by block
// and adds the tiles of a block to its own sums; these go to the output at the end, so units never meet. Layout and exactness rule:
// gemm_tn.h.
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
constexpr int64_t kFewRows = 64;    // up to here the output is what takes time: units of long rows, few of them
constexpr int64_t kFewRowsOfN = 28;
constexpr int64_t kSumRows = 256;  // block of columnSums
constexpr int64_t kUnitsPerThread = 4;
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {

// How the output is cut into units.
struct Cut {
  int64_t tiles, panels;            // per unit
  int64_t tileGroups, panelGroups;  // how many of them
  Cut(const TnProduct& p, const TnTiles& t, int threads) {
    tiles = std::max<int64_t>(1, kTnRows / kRows);
    panels = p.taps >= 4 ? 2 : kTnColumns;
    const int64_t wanted = kUnitsPerThread * threads, least = p.taps >= 4 ? 1 : 4;
    if (p.rows <= kFewRows && p.taps == 1) {
      tiles = std::max<int64_t>(1, kFewRowsOfN / kRows);
      panels = 8 * kTnColumns;
    }
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
  float *a, *w, *acc;
  Segments segments;
};

int64_t TileFloats(const TnTiles& t, int64_t i, int64_t rows) { return rows * PaddedRows(t.size(i)) + kTnGap; }

// Sums of the unit: [column group][n][panels * 16].
void MultiplyBlock(const TnProduct& p, const TnTiles& t, const Unit& u, const float* const* packed) {
  const int64_t columns = (u.p1 - u.p0) * p.taps, n0 = t.start(u.t0), n = t.start(u.t1) - n0;
  for (int64_t c = 0, panels; c < columns; c += panels) {
    panels = PanelsAt(t, c, columns);
    const float* from[kMaxPanels];
    for (int64_t j = 0; j < panels; j++) from[j] = u.w + (c + j) / p.taps * p.panelFloats + p.tapAt[(c + j) % p.taps];
    for (int64_t i = u.t0; i < u.t1; i++) {
      float* acc = u.acc + (c * n + (t.start(i) - n0) * panels) * kPanel;
      PickTnKernel(static_cast<int>(panels), t.size(i))(packed[i - u.t0], from, u.segments, p.step, acc);
    }
  }
}

// dw += alpha * sums, or sums as they are; row by row, for the sake of the memory's pages.
void StoreUnit(const TnProduct& p, const TnTiles& t, const Unit& u, float* sums) {
  const DF d;
  const VF alpha = hn::Set(d, p.alpha);
  const int64_t ld = p.dw ? p.cols : p.columns() * kPanel, columns = (u.p1 - u.p0) * p.taps;
  const int64_t n0 = t.start(u.t0), n = t.start(u.t1) - n0;
  for (int64_t r = 0; r < n; r++) {
    for (int64_t c = 0, panels; c < columns; c += panels) {
      panels = PanelsAt(t, c, columns);
      const int64_t at = (u.p0 * p.taps + c) * kPanel, valid = std::min<int64_t>(panels * kPanel, ld - at);
      float* to = (p.dw ? p.dw : sums) + (n0 + r) * ld + at;
      const float* s = u.acc + (c * n + r * panels) * kPanel;
      int64_t j = 0;
      for (; j + kLanes <= valid; j += kLanes) {
        const VF v = hn::Load(d, s + j);
        hn::StoreU(p.dw ? hn::MulAdd(alpha, v, hn::LoadU(d, to + j)) : v, d, to + j);
      }
      if (j < valid) {
        const size_t rest = static_cast<size_t>(valid - j);
        StorePart(d, hn::MulAdd(alpha, hn::Load(d, s + j), LoadPart(d, to + j, rest, 0.0f)), to + j, rest);
      }
    }
  }
}

void RunUnit(const TnProduct& p, const TnTiles& t, Unit& u, int64_t chunk, float* sums) {
  const int64_t first = chunk * p.chunk, last = std::min(first + p.chunk, p.blocks());
  const float* end = p.dy + p.rows * p.n;
  Narrow tiles;
  float* at = u.a;
  for (int64_t i = u.t0; i < u.t1; i++) {
    tiles.from[tiles.count] = static_cast<int>(t.start(i) - t.start(u.t0));
    tiles.size[tiles.count] = t.size(i);
    tiles.to[tiles.count++] = at;
    at += TileFloats(t, i, p.block);
  }
  std::fill_n(u.acc, (t.start(u.t1) - t.start(u.t0)) * (u.p1 - u.p0) * p.taps * kPanel, 0.0f);
  for (int64_t b = first; b < last; b++) {
    const int64_t m0 = b * p.block, rows = std::min(p.block, p.rows - m0);
    PackNarrow(p.dy + m0 * p.n + t.start(u.t0), p.n, rows, tiles, end);
    p.pack(p.source, m0, rows, u.p0, u.p1, u.w, u.segments);
    MultiplyBlock(p, t, u, tiles.to);
  }
  StoreUnit(p, t, u, sums);
}

void TnParallel(Context& ctx, const TnProduct& p, float* sums) {
  const int threads = ctx.pool.threads();
  const TnTiles t(p.n);
  const Cut cut(p, t, threads);
  const size_t a = static_cast<size_t>(cut.tiles * (p.block * 16 + kTnGap));
  const size_t w = static_cast<size_t>(cut.panels * p.panelFloats + p.extra);
  const size_t acc = static_cast<size_t>(cut.tiles * kRows * cut.panels * p.taps * kPanel);
  const size_t runs = static_cast<size_t>(p.runs) * sizeof(int64_t);
  for (int i = 0; i < threads; i++) {
    ctx.perThread[i].floats(0, a);
    ctx.perThread[i].floats(1, w);
    ctx.perThread[i].floats(2, acc);
    ctx.perThread[i].bytes(3, runs);
  }
  const int64_t parts = cut.tileGroups * cut.panelGroups;
  ctx.pool.parallelFor(p.chunks() * parts, 1, [&](int64_t begin, int64_t end, int thread) {
    Unit u;
    u.a = ctx.perThread[thread].floats(0, a);
    u.w = ctx.perThread[thread].floats(1, w);
    u.acc = ctx.perThread[thread].floats(2, acc);
    u.segments.start = static_cast<int64_t*>(ctx.perThread[thread].bytes(3, runs));
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

// dst[i * 16 + j] = x[i * stride + j] for j < width, 0 for the other lanes up to 16.
void CopyLines(const float* x, int64_t stride, int64_t count, int64_t width, float* HWY_RESTRICT dst) {
  const DF d;
  for (int64_t i = 0; i < count; i++, x += stride, dst += kPanel) {
    __builtin_prefetch(x + kTnAhead * stride);
    if (width == kPanel) {
      for (int v = 0; v < kPanel; v += kLanes) hn::Store(hn::LoadU(d, x + v), d, dst + v);
    } else {
      for (int64_t j = 0; j < kPanel; j++) dst[j] = j < width ? x[j] : 0.0f;
    }
  }
}

// As CopyLines for several panels next to each other, row by row: panel p goes to dst + p * panelFloats.
void CopyPanels(const float* x, int64_t stride, int64_t count, int64_t width, float* HWY_RESTRICT dst, int64_t panelFloats) {
  const DF d;
  const int64_t full = width / kPanel, rest = width % kPanel;
  for (int64_t i = 0; i < count; i++, x += stride, dst += kPanel) {
    for (int64_t p = 0; p < full; p++) {
      const float* from = x + p * kPanel;
      __builtin_prefetch(from + kTnAhead * stride);
      for (int v = 0; v < kPanel; v += kLanes) hn::Store(hn::LoadU(d, from + v), d, dst + p * panelFloats + v);
    }
    for (int64_t j = 0; rest && j < kPanel; j++) dst[full * panelFloats + j] = j < rest ? x[full * kPanel + j] : 0.0f;
  }
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
HWY_EXPORT(CopyLines);
HWY_EXPORT(CopyPanels);

int64_t tnBlockRows(int64_t n) { return n <= 32 ? 1024 : 256; }

int64_t tnChunks(int64_t rows, int64_t n, int64_t columns) {
  const int64_t area = std::max<int64_t>(1, n * columns * kPanel);
  const int64_t byRows = rows / (area <= 1 << 16 ? 1024 : 4096), byMemory = (1 << 21) / area;
  return std::clamp<int64_t>(std::min(byRows, byMemory), 1, 16);
}

void tnCopyLines(const float* x, int64_t stride, int64_t count, int64_t width, float* dst) {
  HWY_DYNAMIC_DISPATCH(CopyLines)(x, stride, count, width, dst);
}

void tnCopyPanels(const float* x, int64_t stride, int64_t count, int64_t width, float* dst, int64_t panelFloats) {
  HWY_DYNAMIC_DISPATCH(CopyPanels)(x, stride, count, width, dst, panelFloats);
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
