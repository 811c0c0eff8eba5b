// attention on Hopper's tensor cores (sm_90a): 16-bit q, k and v of width 64, forward alone.
// A warpgroup takes 64 rows of one head, a block 64 or 128 of them; keys and values come in tiles of 64 counted from key 0, by cp.async
// into three stages of swizzled rows of 128 bytes. S = Q K^T reads both from shared memory; weights stay in registers as the left
// operand of O += P V, whose right operand is the tile of values as it lies. Softmax online in f32 and base 2, as attention_mma.cuh.
// Overlap: the scores of the next tile start before this tile's product with the values; one wait is for both, and softmax follows it.
// Softmax beside the product with the values (FlashAttention-3, algorithm 2) is left out: a left operand's registers must stay until the
// wait, and ptxas before 13.3 frees them when the product starts (triton-lang/triton#9433). Instead 128 registers with 128 rows per
// block: four warpgroups share an SM, and one's softmax fills another's waits.
// Floor: 4 B H c FLOPs per query and key it sees (VAR, 680 tokens in 10 scales: 0.62 of l * l; in tiles of 64 keys and 64 rows: 0.75),
// and one exp2 each: 16 per cycle of an SM take as long as the products (4096 FLOPs per cycle, 256 per pair), so that only their overlap
// comes near the rate of products. Bytes: as attention_mma.cuh; from L2 16 KiB per tile and block.
// A row's result depends on its keys alone, not on the block's size or on its neighbours, as long as all values are finite.
// Not seen on hardware yet: chosen where NEXTSCALE_CUDA_HOPPER=1 (cuda/ops/attention_hopper.cu).
// Sources: FlashAttention-3 (Shah et al. 2024); PTX manual, 9.7.15 (wgmma: fragments, canonical layouts, matrix descriptors, async proxy),
// the facts of which CUTLASS's mma_sm90_desc.hpp and Mojo's WGMMADescriptor repeat.
#pragma once
#include "cuda/kernels/attention_mma.cuh"

namespace ns::cuda::att {

template <int kGroups>
struct HopperLayout {
  static constexpr int kWidth = 64, kRows = 64 * kGroups, kThreads = 128 * kGroups, kStages = 3;
  static constexpr int kTile = kKeys * kWidth;  // elements of keys or values; a stage is both
  static constexpr size_t kBytes = kSwizzleAtom + static_cast<size_t>(kRows * kWidth + kStages * 2 * kTile) * 2;
};

// Rows of 16-bit values: row i of head h of image b is (b * batch + h * head) elements and i * step bytes behind data.
struct Lines {
  const void* data;
  int64_t batch, head;
  unsigned step;
};

template <class T>
struct HopperForward : Forward<T> {
  Lines k, v, cachedLinesK, cachedLinesV;  // of keys from 0 on; or, where they are cut at pos, from pos on and the cached ones
};

#ifdef NS_WARPGROUPS

constexpr int kGroupRows = 64, kGroupThreads = 128;
constexpr float kLeastFactor = 1.17549435e-38f;  // of a masked score, -inf, times it is -inf

// The most keys that a row of the block sees, and a row of this warpgroup (0: it has no rows). Raises what is out of range, once.
struct Limits {
  int block, own;
};
template <int kRows>
__device__ inline Limits limitsOf(const Shape& s, int row0, int group, DeviceError* error, int32_t op) {
  const bool any = row0 + group * kGroupRows < s.l;
  if (!s.visible) return {s.keys, any ? s.keys : 0};
  Limits most = {1, 0};
  for (int r = static_cast<int>(threadIdx.x) % kWarp; r < kRows; r += kWarp) {
    int seen;
    if (row0 + r >= s.l) break;
    if (!keysSeen(s, row0 + r, seen) && static_cast<int>(threadIdx.x) < kWarp) raise(error, op, NS_INDEX, row0 + r, s.visible[row0 + r]);
    if (seen > most.block) most.block = seen;
    if (r / kGroupRows == group && seen > most.own) most.own = seen;
  }
  return {warpMax(most.block), warpMax(most.own)};
}

// Keys and values of a head, in this thread's chunk of 8 columns: row j is at j * step bytes. kSplit: two sources of each, cut at pos.
struct Columns {
  const char *keys, *values, *cachedKeys, *cachedValues;
};
template <class T>
__device__ inline const char* columnOf(const Lines& r, int b, int h, int firstRow) {
  return static_cast<const char*>(r.data) + (b * r.batch + h * r.head) * static_cast<int64_t>(sizeof(T)) +
         static_cast<int64_t>(firstRow) * r.step + threadIdx.x % 8 * 16;
}
__device__ __forceinline__ const char* lineAt(const char* column, unsigned step, int j) {
  return column + static_cast<uint64_t>(static_cast<unsigned>(j)) * step;
}

// Keys, and behind them values, of rows j0 .. j0 + 63; zeros behind the last.
template <class T, bool kSplit, int kThreads>
__device__ __forceinline__ void fetchTile(T* tile, const Columns& c, const HopperForward<T>& a, int j0) {
  const int thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int n = 0; n < kKeys * 8 / kThreads; n++) {
    const int row = thread / 8 + n * (kThreads / 8), j = j0 + row, at = j < a.s.keys ? j : a.s.keys - 1;
    const bool cached = kSplit && at < a.s.pos, real = j < a.s.keys;
    T* const to = tile + tileAt<64>(row, thread % 8);
    copyAsync16(to, cached ? lineAt(c.cachedKeys, a.cachedLinesK.step, at) : lineAt(c.keys, a.k.step, at), real);
    copyAsync16(to + kKeys * 64, cached ? lineAt(c.cachedValues, a.cachedLinesV.step, at) : lineAt(c.values, a.v.step, at), real);
  }
}

// Scores of the tile at `keys`, started.
template <class T>
__device__ __forceinline__ void startScores(float (&s)[8][4], unsigned queries, unsigned keys) {
#pragma unroll
  for (unsigned k = 0; k < 4; k++) groupMultiply<T>(s, further(queries, 32 * k), further(keys, 32 * k), k > 0);
  groupCommit();
}

// o += p times the tile at `values`, started.
template <class T>
__device__ __forceinline__ void startValues(float (&o)[8][4], const unsigned (&p)[4][4], unsigned values) {
#pragma unroll
  for (unsigned k = 0; k < 4; k++) groupMultiply<T>(o, p[k], further(values, 2048 * k));
  groupCommit();
}

// Scores of 64 keys from j0 on to weights under the running maximum. alpha: what brings older sums to it. Factors are positive or NaN.
__device__ __forceinline__ void weigh(float (&s)[8][4], RowState (&rows)[2], float (&alpha)[2], int j0) {
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    RowState& r = rows[half];
    if (j0 + kKeys > r.seen) {
#pragma unroll
      for (int i = 0; i < 16; i++) {
        if (j0 + i / 2 * 8 + 2 * t + i % 2 >= r.seen) s[i / 2][2 * half + i % 2] = -INFINITY;
      }
    }
    float most = s[0][2 * half];
#pragma unroll
    for (int i = 1; i < 16; i++) most = fmaxf(most, s[i / 2][2 * half + i % 2]);
    const float top = fmaxf(r.max, rowMax(most) * r.factor);
    alpha[half] = exp2Fast(r.max - top);
    r.max = top;
    r.sum *= alpha[half];
#pragma unroll
    for (int i = 0; i < 16; i++) {
      float& x = s[i / 2][2 * half + i % 2];
      x = exp2Fast(fmaf(x, r.factor, -top));
      r.sum += x;
    }
  }
}

__device__ __forceinline__ void rescale(float (&o)[8][4], const float (&alpha)[2]) {
#pragma unroll
  for (int i = 0; i < 32; i++) o[i / 4][i % 4] *= alpha[i % 4 / 2];
}

// Factors, limits and empty sums of this thread's two rows. q: the tile's rows from `own` on are this warp's, `row` the first of the two.
template <class T>
__device__ __forceinline__ void startGroupRows(RowState (&rows)[2], const T* q, int own, const Shape& s, int h, int row) {
  unsigned fragment[4][4];
  loadLeft<T, 64>(fragment, q, own);
  startRows<T, 64>(rows, fragment, s, h, row);
  for (RowState& r : rows) {
    if (r.factor < kLeastFactor) r.factor = kLeastFactor;
  }
}

template <class T, bool kSplit>
__device__ inline Columns columnsOf(const HopperForward<T>& a, int b, int h) {
  if (!kSplit) return {columnOf<T>(a.k, b, h, 0), columnOf<T>(a.v, b, h, 0), nullptr, nullptr};
  return {columnOf<T>(a.k, b, h, -a.s.pos), columnOf<T>(a.v, b, h, -a.s.pos), columnOf<T>(a.cachedLinesK, b, h, 0),
          columnOf<T>(a.cachedLinesV, b, h, 0)};
}

template <class T, int kRows>
__device__ inline void fetchQueries(T* tile, const HopperForward<T>& a, int b, int h, int row0) {
  const int row = static_cast<int>(threadIdx.x) / 8, chunk = static_cast<int>(threadIdx.x) % 8;
  const T* const from = static_cast<const T*>(a.q.data) + rowsAt(a.q, b, h, row0) + chunk * 8;
#pragma unroll
  for (int r = row; r < row + kRows; r += kRows / 4) {
    const bool real = row0 + r < a.s.l;
    copyAsync16(tile + tileAt<64>(r, chunk), from + (real ? r : 0) * a.q.row, real);
  }
}

// The tiles [0, tiles), tiles > 0, for a warpgroup: rows and o as attend of attention_mma.cuh leaves them. q: the block's queries, of which
// those from `own` on are this warp's, `row` this thread's first; queries: this warpgroup's. step(tile): tile + 1 is there afterwards, and
// what lay three tiles before the one it fetches is read no more.
template <class T, class Layout, class F>
__device__ __forceinline__ void attendTiles(RowState (&rows)[2], float (&o)[8][4], const T* q, int own, unsigned queries, unsigned stages,
                                            int tiles, const Shape& s, int h, int row, F step) {
  const auto keysAt = [&](int tile) { return further(stages, static_cast<unsigned>(tile % Layout::kStages * 2 * Layout::kTile * 2)); };
  const auto valuesAt = [&](int tile) { return further(keysAt(tile), Layout::kTile * 2); };
  float weights[8][4], alpha[2];
  unsigned p[4][4];
  groupFence();
  startScores<T>(weights, queries, keysAt(0));
  startGroupRows<T>(rows, q, own, s, h, row);
  groupWait<0>();
  holdRegisters(weights);
  const auto turn = [&](int tile) {
    weigh(weights, rows, alpha, tile * kKeys);
    toLeft<T>(p, weights);
    rescale(o, alpha);
    step(tile);
    groupFence();
  };
  for (int tile = 0; tile + 1 < tiles; tile++) {
    turn(tile);
    startScores<T>(weights, queries, keysAt(tile + 1));
    startValues<T>(o, p, valuesAt(tile));
    groupWait<0>();  // directly behind: nothing may write p before it
    holdRegisters(weights);
    holdRegisters(o);
  }
  turn(tiles - 1);
  startValues<T>(o, p, valuesAt(tiles - 1));
  groupWait<0>();
  holdRegisters(o);
}

#endif

template <class T, int kGroups, bool kSplit>
__global__ void __launch_bounds__(128 * kGroups, kGroups == 2 ? 2 : 3) attentionHopper(HopperForward<T> a) {
#ifdef NS_WARPGROUPS
  using Layout = HopperLayout<kGroups>;
  NS_SHARED(T, memory);
  T* const qTile = memory + (kSwizzleAtom - sharedAddress(memory) % kSwizzleAtom) % kSwizzleAtom / sizeof(T);
  T* const stages = qTile + Layout::kRows * Layout::kWidth;
  const Shape& s = a.s;
  // The last rows of a head see most keys: they start first.
  const int blocks = (s.l + Layout::kRows - 1) / Layout::kRows;
  const int64_t head = blockIdx.x / static_cast<unsigned>(blocks);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int row0 = (blocks - 1 - static_cast<int>(blockIdx.x % static_cast<unsigned>(blocks))) * Layout::kRows;
  const int group = static_cast<int>(threadIdx.x) / kGroupThreads, own = static_cast<int>(threadIdx.x) / kWarp * 16;
  const int row = row0 + own + static_cast<int>(threadIdx.x) % kWarp / 4;
  const Columns columns = columnsOf<T, kSplit>(a, b, h);
  fetchQueries<T, Layout::kRows>(qTile, a, b, h, row0);
  fetchTile<T, kSplit, Layout::kThreads>(stages, columns, a, 0);
  copyCommit();
  const Limits most = limitsOf<Layout::kRows>(s, row0, group, a.error, a.op);
  const int tiles = (most.block + kKeys - 1) / kKeys, ownTiles = (most.own + kKeys - 1) / kKeys;
  // Warpgroups meet at the barrier from different places, each `tiles` times and once before.
  const auto step = [&](int tile) {
    copyWait<0>();
    fenceAsyncProxy();
    blockBarrier();
    T* const to = stages + (tile + 2) % Layout::kStages * 2 * Layout::kTile;
    if (tile + 2 < tiles) fetchTile<T, kSplit, Layout::kThreads>(to, columns, a, (tile + 2) * kKeys);
    copyCommit();
  };
  step(-1);
  RowState rows[2];
  float o[8][4] = {};
  if (ownTiles > 0) {
    attendTiles<T, Layout>(rows, o, qTile, own, matrixOf(sharedAddress(qTile + group * kGroupRows * 64)), matrixOf(sharedAddress(stages)),
                           ownTiles, s, h, row, step);
  }
  for (int tile = ownTiles; tile < tiles; tile++) step(tile);
  if (row0 + own >= s.l) return;
  finishRows(o, rows, a, head, row);
  T* const y = static_cast<T*>(a.y.data) + rowsAt(a.y, b, h, row0);
  storeRows<T, 64>(qTile, own, o, 64, [&](int r) -> T* { return row0 + r < s.l ? y + r * a.y.row : nullptr; });
#endif
}

}  // namespace ns::cuda::att
