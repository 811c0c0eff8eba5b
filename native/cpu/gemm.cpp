// Driver of the packed GEMM: blocking, splitting over the pool, epilogue.
// Floor: 2 m n k FLOP at the FMA peak for large m; streaming the weights once for small m. Up to kFewRows rows A is packed once and
// the panels are split over the threads; up to kSharedRows it is packed once and (row block, panel range) units are; above, each unit
// packs its rows into its thread's scratch.
// Layout and exactness rule: gemm.h. Measured figures: bench/native.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/gemm.cpp"
#include <hwy/foreach_target.h>

#include "native/cpu/gemm_kernel-inl.h"

#ifndef NS_CPU_GEMM_CPP_ONCE_
#define NS_CPU_GEMM_CPP_ONCE_
namespace ns::cpu {
constexpr int64_t kFewRows = 128;
constexpr int64_t kSharedRows = 2048;                // above, packing per unit costs little
constexpr int64_t kSharedFloats = int64_t{8} << 20;  // of packed A: scratch is kept
constexpr int64_t kMaxBlockRows = 98;
constexpr int64_t kTileGap = 4;  // what packing may spill
}  // namespace ns::cpu
#endif

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace {

// Rows [0, rows) cut into tiles of nearly equal height.
struct Tiles {
  int64_t rows;
  int64_t count;
  explicit Tiles(int64_t n) : rows(n), count(ceilDiv(n, kRows)) {}
  int64_t start(int64_t i) const { return rows * i / count; }
  int size(int64_t i) const { return static_cast<int>(start(i + 1) - start(i)); }
  int64_t offset(int64_t i, int64_t kn) const { return start(i) * kn + i * kTileGap; }
  int64_t floats(int64_t kn) const { return rows * kn + count * kTileGap; }
};

void PackTile(const Gemm& g, int64_t first, int rows, int64_t k0, int64_t kn, float* dst) {
  const float* from[kRows];
  if (!g.rows) {
    for (int r = 0; r < rows; r++) from[r] = g.a + (first + r) * g.lda + k0;
    PackRows(from, rows, kn, dst);
    return;
  }
  for (int64_t k = 0; k < kn;) {
    const int64_t run = g.rows(g.source, first, rows, k0 + k, kn - k, from);
    PackRows(from, rows, run, dst + k * rows);
    k += run;
  }
}

void PackBlock(const Gemm& g, int64_t m0, const Tiles& tiles, int64_t k0, int64_t kn, float* dst) {
  for (int64_t i = 0; i < tiles.count; i++) PackTile(g, m0 + tiles.start(i), tiles.size(i), k0, kn, dst + tiles.offset(i, kn));
}

HWY_INLINE VF Finish(DF d, const Epilogue& e, VF v, const float* scale, const float* bias, const float* gate, const float* residual) {
  if (scale) v = hn::Mul(v, hn::LoadU(d, scale));
  if (bias) v = hn::Add(v, hn::LoadU(d, bias));
  if (e.act == Activation::gelu) v = GeluTanh(d, v);
  if (e.act == Activation::silu) v = Silu(d, v);
  if (gate) v = hn::Mul(v, hn::LoadU(d, gate));
  if (e.alpha != 1.0f) v = hn::Mul(v, hn::Set(d, e.alpha));
  if (residual) v = e.beta == 1.0f ? hn::Add(v, hn::LoadU(d, residual)) : hn::MulAdd(hn::Set(d, e.beta), hn::LoadU(d, residual), v);
  return v;
}

// One vector of a tile row at the right edge: inputs and output pass through padded copies, the arithmetic is the same.
void FinishEdge(const Epilogue& e, VF v, int64_t count, bool first, bool last, const float* scale, const float* bias, const float* gate,
                const float* residual, float* c) {
  const DF d;
  HWY_ALIGN float s[16] = {}, b[16] = {}, g[16] = {}, r[16] = {}, y[16] = {};
  if (!first) {
    for (int64_t i = 0; i < count; i++) y[i] = c[i];
    v = hn::Add(hn::Load(d, y), v);
  }
  if (last) {
    for (int64_t i = 0; i < count; i++) {
      if (scale) s[i] = scale[i];
      if (bias) b[i] = bias[i];
      if (gate) g[i] = gate[i];
      if (residual) r[i] = residual[i];
    }
    v = Finish(d, e, v, scale ? s : nullptr, bias ? b : nullptr, gate ? g : nullptr, residual ? r : nullptr);
  }
  hn::Store(v, d, y);
  for (int64_t i = 0; i < count; i++) c[i] = y[i];
}

// Adds a tile of sums to C (or starts it), and applies the epilogue after the last K block.
void StoreTile(const Gemm& g, const float* tile, int64_t m0, int rows, int64_t n0, int cols, bool first, bool last) {
  const DF d;
  const Epilogue& e = g.epilogue;
  const int64_t valid = std::min<int64_t>(cols, g.n - n0);
  for (int r = 0; r < rows; r++) {
    const int64_t m = m0 + r;
    float* c = g.c + m * g.ldc + n0;
    const float* scale = e.scale ? e.scale + n0 : nullptr;
    const float* bias = e.bias ? e.bias + n0 : nullptr;
    const float* gate = e.gate ? e.gate + (e.gateStride ? m / e.rowsPerGate * e.gateStride : 0) + n0 : nullptr;
    const float* residual = e.residual ? e.residual + m * g.ldc + n0 : nullptr;
    const float* s = tile + r * cols;
    int64_t j = 0;
    for (; j + kLanes <= valid; j += kLanes) {
      VF v = hn::Load(d, s + j);
      if (!first) v = hn::Add(hn::LoadU(d, c + j), v);
      if (last)
        v = Finish(d, e, v, scale ? scale + j : nullptr, bias ? bias + j : nullptr, gate ? gate + j : nullptr,
                   residual ? residual + j : nullptr);
      hn::StoreU(v, d, c + j);
    }
    if (j < valid) {
      FinishEdge(e, hn::Load(d, s + j), valid - j, first, last, scale ? scale + j : nullptr, bias ? bias + j : nullptr,
                 gate ? gate + j : nullptr, residual ? residual + j : nullptr, c + j);
    }
  }
}

// The lines that StoreTile will touch, fetched while the kernel runs.
void PrefetchTile(const Gemm& g, int64_t m0, int rows, int64_t n0, int64_t cols, bool last) {
  const int64_t valid = std::min(cols, g.n - n0);
  for (int r = 0; r < rows; r++) {
    const int64_t at = (m0 + r) * g.ldc + n0;
    for (int64_t j = 0; j < valid; j += 16) {
      __builtin_prefetch(g.c + at + j, 1);
      if (last && g.epilogue.residual) __builtin_prefetch(g.epilogue.residual + at + j);
    }
  }
}

// Tiles of packed rows times panels [p0, p1) over one K block.
void Multiply(const Gemm& g, const float* packed, int64_t m0, const Tiles& tiles, int64_t p0, int64_t p1, int64_t k0, int64_t kn) {
  const bool first = k0 == 0, last = k0 + kn == g.k;
  const int64_t element = static_cast<int64_t>(dtypeSize(g.dtype));
  const int wide = PanelsFor(static_cast<int>(ceilDiv(tiles.rows, tiles.count)));
  HWY_ALIGN float sums[kRows * 2 * 16 > kRows4 * 64 ? kRows * 2 * 16 : kRows4 * 64];
  for (int64_t p = p0; p < p1;) {
    const int panels = p1 - p >= wide ? wide : (wide == 4 && p1 - p >= 2) ? 2 : 1;
    const char* w = static_cast<const char*>(g.w) + (p * g.k + k0) * kPanel * element;
    // Between 4 rows and two tiles a panel is multiplied about as fast as memory gives it (seen on Zen 4): waiting for its first lines
    // would show.
    const int64_t stride = g.k * kPanel * element;
    const int lines = tiles.rows >= 4 && tiles.count <= 2 ? static_cast<int>(element / tiles.count) : 0;
    const int64_t part = kn / 4 * lines * 64;
    for (int64_t i = 0; i < tiles.count; i++) {
      const int rows = tiles.size(i);
      const Ahead ahead{w + panels * stride + i * part, stride, lines};
      PrefetchTile(g, m0 + tiles.start(i), rows, p * kPanel, panels * kPanel, last);
      PickKernel(g.dtype, panels, rows)(packed + tiles.offset(i, kn), w, g.k * kPanel, kn, ahead, sums);
      StoreTile(g, sums, m0 + tiles.start(i), rows, p * kPanel, panels * static_cast<int>(kPanel), first, last);
    }
    p += panels;
  }
}

template <class F>
void ForBlocksK(int64_t k, const F& f) {
  const int64_t step = blockK(k);
  int64_t k0 = 0;
  do {
    const int64_t kn = std::min(step, k - k0);
    f(k0, kn);
    k0 += kn;
  } while (k0 < k);
}

void FewRows(Context& ctx, const Gemm& g) {
  const Tiles tiles(g.m);
  const int64_t panels = ceilDiv(g.n, kPanel);
  const int64_t step = std::max<int64_t>(1, blockK(g.k)), blocks = std::max<int64_t>(1, ceilDiv(g.k, step));
  float* packed = ctx.shared.floats(0, static_cast<size_t>(g.m * g.k + tiles.count * kTileGap * blocks + kTileGap));
  const auto blockAt = [&](int64_t k0) { return packed + k0 * g.m + k0 / step * tiles.count * kTileGap; };
  const auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; u++) {
      const int64_t k0 = u / tiles.count * step, i = u % tiles.count, kn = std::min(step, g.k - k0);
      PackTile(g, tiles.start(i), tiles.size(i), k0, kn, blockAt(k0) + tiles.offset(i, kn));
    }
  };
  const int64_t units = tiles.count * blocks;
  if (g.m * g.k < 1 << 15) {
    pack(0, units, 0);
  } else {
    ctx.pool.parallelFor(units, 1, pack);
  }
  const int64_t wide = PanelsFor(static_cast<int>(ceilDiv(g.m, tiles.count)));
  const int64_t groups = ceilDiv(panels, wide);
  const int64_t grain = std::max<int64_t>(1, groups / (ctx.pool.threads() * 16));
  ctx.pool.parallelFor(groups, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; p++) {
      ForBlocksK(g.k,
                 [&](int64_t k0, int64_t kn) { Multiply(g, blockAt(k0), 0, tiles, p * wide, std::min((p + 1) * wide, panels), k0, kn); });
    }
  });
}

int64_t BlockRows(int64_t m) {
  const int64_t blocks = ceilDiv(m, kMaxBlockRows);
  return std::min(kMaxBlockRows / kRows * kRows, ceilDiv(ceilDiv(m, blocks), kRows) * kRows);
}

// Row blocks of at most kMaxBlockRows rows times panel ranges: the units that the threads take.
struct Units {
  int64_t rows, blocks, panels, width, parts;
  Units(const Gemm& g, int threads) : rows(BlockRows(g.m)), blocks(ceilDiv(g.m, rows)), panels(ceilDiv(g.n, kPanel)) {
    const int64_t splits = std::clamp<int64_t>(ceilDiv(12 * threads, blocks), 1, std::max<int64_t>(1, panels / 16));
    width = ceilDiv(panels, splits);
    parts = ceilDiv(panels, width);
  }
};

// A packed once, as [row block][K block][tile]; every unit reads its row block.
void SharedRows(Context& ctx, const Gemm& g) {
  const Units units(g, ctx.pool.threads());
  const int64_t step = std::max<int64_t>(1, blockK(g.k)), ks = std::max<int64_t>(1, ceilDiv(g.k, step)),
                perBlock = Tiles(units.rows).floats(step);
  float* packed = ctx.shared.floats(0, static_cast<size_t>(units.blocks * ks * perBlock));
  const auto tilesOf = [&](int64_t block) { return Tiles(std::min(units.rows, g.m - block * units.rows)); };
  ctx.pool.parallelFor(units.blocks * ks, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; u++) {
      const int64_t block = u / ks, k0 = u % ks * step;
      PackBlock(g, block * units.rows, tilesOf(block), k0, std::min(step, g.k - k0), packed + u * perBlock);
    }
  });
  ctx.pool.parallelFor(units.blocks * units.parts, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; u++) {
      const int64_t block = u / units.parts, p0 = u % units.parts * units.width, p1 = std::min(p0 + units.width, units.panels);
      const float* at = packed + block * ks * perBlock;
      ForBlocksK(g.k, [&](int64_t k0, int64_t kn) {
        Multiply(g, at, block * units.rows, tilesOf(block), p0, p1, k0, kn);
        at += perBlock;
      });
    }
  });
}

void RowBlock(const Gemm& g, int64_t m0, int64_t m1, int64_t p0, int64_t p1, float* scratch) {
  const Tiles tiles(m1 - m0);
  ForBlocksK(g.k, [&](int64_t k0, int64_t kn) {
    PackBlock(g, m0, tiles, k0, kn, scratch);
    Multiply(g, scratch, m0, tiles, p0, p1, k0, kn);
  });
}

void ManyRows(Context& ctx, const Gemm& g) {
  const int threads = ctx.pool.threads();
  const Units units(g, threads);
  const size_t floats = static_cast<size_t>(Tiles(units.rows).floats(blockK(g.k)));
  for (int t = 0; t < threads; t++) ctx.perThread[t].floats(0, floats);
  ctx.pool.parallelFor(units.blocks * units.parts, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = ctx.perThread[thread].floats(0, floats);
    for (int64_t u = begin; u < end; u++) {
      const int64_t m0 = u / units.parts * units.rows, p0 = u % units.parts * units.width;
      RowBlock(g, m0, std::min(m0 + units.rows, g.m), p0, std::min(p0 + units.width, units.panels), scratch);
    }
  });
}

void GemmParallel(Context& ctx, const Gemm& g) {
  if (g.m <= 0 || g.n <= 0) return;
  if (g.m <= kFewRows) {
    FewRows(ctx, g);
  } else if (g.m <= kSharedRows && g.m * g.k <= kSharedFloats) {
    SharedRows(ctx, g);
  } else {
    ManyRows(ctx, g);
  }
}

void GemmOneThread(const Gemm& g, float* scratch) {
  if (g.m <= 0 || g.n <= 0) return;
  const int64_t rows = BlockRows(g.m);
  for (int64_t m0 = 0; m0 < g.m; m0 += rows) RowBlock(g, m0, std::min(m0 + rows, g.m), 0, ceilDiv(g.n, kPanel), scratch);
}

int64_t OneThreadScratch(int64_t m, int64_t k) { return m <= 0 ? 0 : Tiles(BlockRows(m)).floats(blockK(k)); }

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {

HWY_EXPORT(GemmParallel);
HWY_EXPORT(GemmOneThread);
HWY_EXPORT(OneThreadScratch);
HWY_EXPORT(TargetName);

void gemm(Context& ctx, const Gemm& g) { HWY_DYNAMIC_DISPATCH(GemmParallel)(ctx, g); }
void gemmSerial(const Gemm& g, float* scratch) { HWY_DYNAMIC_DISPATCH(GemmOneThread)(g, scratch); }
int64_t gemmScratch(int64_t m, int64_t k) { return HWY_DYNAMIC_DISPATCH(OneThreadScratch)(m, k); }
const char* gemmTarget() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace ns::cpu
#endif
