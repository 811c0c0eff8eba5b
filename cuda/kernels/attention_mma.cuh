// attention on tensor cores: 16-bit q, k and v, widths that are multiples of 8 up to 128 (columns up to W are zero in shared memory).
// A block takes 16 M rows per warp of one head and goes through its keys in tiles of 64 counted from key 0, two tiles of keys and values
// in flight. Scores and weights stay in registers: softmax online in f32 (exp2), weights rounded to 16 bit for the product with the
// values. A tile that no row of the block sees is not read; only tiles at a row's end are masked. The norm of q is a factor on its scores.
// A warp none of whose rows sees a tile waits. Floor: 4 B H c FLOPs per query and key it sees (VAR, 680 tokens in 10 scales: 0.62 of
// l * l; in tiles of 64 keys and 32, 64, 128 rows: 0.72, 0.75, 0.89); bytes: qkv, the caches' first pos rows and y once, keys and values
// again per block of a head (from L2).
// Limits: one block per 16 M kWarps rows and no split over keys: B * H * ceil(l / 32) blocks fill the device, or do not (B 2, H 16: 32
// blocks at l <= 32), and then the time is that of one block: 64 keys per step.
// Source: FlashAttention-2 (Dao 2023, algorithm 1); q/k normalisation and scale of VAR's SelfAttention.
#pragma once
#include "cuda/kernels/attention_tile.cuh"

namespace ns::cuda::att {

constexpr int kKeys = 64;  // per tile

template <class T>
struct Forward {
  Shape s;
  Rows q, y;
  Rows cachedK, cachedV;  // keys [0, pos)
  Rows freshK, freshV;    // keys [pos, keys)
  float* lse;             // [B,H,l] or null
  DeviceError* error;
  int32_t op;
};

template <int kWarps, int M, int W>
struct MmaLayout {
  static constexpr int kRows = 16 * M * kWarps, kThreads = kWarp * kWarps;
  static constexpr size_t kBytes = static_cast<size_t>(kRows + 4 * kKeys) * W * 2;
};

// The largest number of keys that a row of the block sees, at least 1. Raises what is out of range.
template <int kRows>
__device__ inline int mostKeys(const Shape& s, int row0, DeviceError* error, int32_t op) {
  if (!s.visible) return s.keys;
  int most = 1;
  for (int i = row0 + static_cast<int>(threadIdx.x); i < row0 + kRows && i < s.l; i += static_cast<int>(blockDim.x)) {
    int seen;
    if (!keysSeen(s, i, seen)) raise(error, op, NS_INDEX, i, s.visible[i]);
    most = seen > most ? seen : most;
  }
  return blockMax(most);
}

template <class T>
__device__ inline const T* keyRow(const Rows& cached, const Rows& fresh, const Shape& s, int b, int h, int j) {
  if (j >= s.keys) return nullptr;
  if (j < s.pos) return static_cast<const T*>(cached.data) + rowsAt(cached, b, h, j);
  return static_cast<const T*>(fresh.data) + rowsAt(fresh, b, h, j - s.pos);
}

struct RowState {
  float factor, max, sum;  // scores times factor are in units of log 2; sum of this thread's columns
  int seen;
};

// Scores of 64 keys from j0 on to weights under the running maximum; o is brought to the new maximum. Two rows per thread.
template <int N>
__device__ __forceinline__ void softmaxTile(float (&s)[8][4], RowState (&rows)[2], float (&o)[N][4], int j0) {
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    RowState& r = rows[half];
    const bool cut = j0 + kKeys > r.seen;
    float top = r.max;
#pragma unroll
    for (int i = 0; i < 16; i++) {
      float& x = s[i / 2][2 * half + i % 2];
      x *= r.factor;
      if (cut && j0 + i / 2 * 8 + 2 * t + i % 2 >= r.seen) x = -INFINITY;
      top = fmaxf(top, x);
    }
    top = rowMax(top);
    const float alpha = exp2f(r.max - top);
    r.max = top;
    r.sum *= alpha;
#pragma unroll
    for (int i = 0; i < 16; i++) {
      float& x = s[i / 2][2 * half + i % 2];
      x = exp2f(x - top);
      r.sum += x;
    }
#pragma unroll
    for (int n = 0; n < N; n++) {
      o[n][2 * half] *= alpha;
      o[n][2 * half + 1] *= alpha;
    }
  }
}

// Factors, limits and empty sums of the rows of a warp's fragments.
template <class T, int W>
__device__ __forceinline__ void startRows(RowState (&rows)[2], const unsigned (&q)[W / 16][4], const Shape& s, int h, int row) {
  const float factor = headFactor(s, h) * kLog2e;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < W / 8; k++) {
      const float2 x = unpair<T>(q[k / 2][k % 2 * 2 + half]);
      sum = fmaf(x.x, x.x, fmaf(x.y, x.y, sum));
    }
    const float length = sqrtf(rowSum(sum));
    rows[half].factor = s.scaleMul ? factor / (length < kLeastNorm ? kLeastNorm : length) : factor;
    rows[half].max = -INFINITY;
    rows[half].sum = 0.0f;
    rows[half].seen = 1;
    if (row + 8 * half < s.l) keysSeen(s, row + 8 * half, rows[half].seen);
  }
}

// Divides by the sums; writes lse. A row whose number of keys is out of range becomes NaN.
template <class T, int N>
__device__ __forceinline__ void finishRows(float (&o)[N][4], const RowState (&rows)[2], const Forward<T>& a, int64_t head, int row) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int i = row + 8 * half;
    float sum = rowSum(rows[half].sum);
    int seen;
    if (i < a.s.l && !keysSeen(a.s, i, seen)) sum = NAN;
    if (a.lse && i < a.s.l && threadIdx.x % 4 == 0) a.lse[head * a.s.l + i] = rows[half].max * kLn2 + logf(sum);
    const float scale = 1.0f / sum;
#pragma unroll
    for (int n = 0; n < N; n++) {
      o[n][2 * half] *= scale;
      o[n][2 * half + 1] *= scale;
    }
  }
}

// One tile of keys and values against the rows of a warp, which are rows own .. of the tile q.
template <class T, int W, int M>
__device__ __forceinline__ void attend(const T* q, int own, RowState (&rows)[M][2], float (&o)[M][W / 8][4], const T* k, const T* v,
                                       int j0) {
  float s[M][8][4] = {};
  tileTimesRows<T, W>(s, q, own, k, 0);
  unsigned p[M][4][4];
#pragma unroll
  for (int m = 0; m < M; m++) {
    softmaxTile(s[m], rows[m], o[m], j0);
    toLeft<T>(p[m], s[m]);
  }
  timesColumns<T, W>(o, p, v, 0);
}

template <class T, int W, int kWarps, int M>
__global__ void __launch_bounds__(kWarps * 32) attentionMma(Forward<T> a) {
  using Layout = MmaLayout<kWarps, M, W>;
  NS_SHARED(T, qTile);
  T* const keyTiles = qTile + Layout::kRows * W;
  const Shape& s = a.s;
  // The last rows of a head see most keys: they start first.
  const int tiles = (s.l + Layout::kRows - 1) / Layout::kRows;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int row0 = (tiles - 1 - static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles))) * Layout::kRows;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, own = static_cast<int>(threadIdx.x) / kWarp * 16 * M;
  const T* const query = static_cast<const T*>(a.q.data) + rowsAt(a.q, b, h, row0);
  copyRows<T, W, Layout::kRows, Layout::kThreads>(qTile, s.width, a.q.data,
                                                  [&](int r) -> const T* { return row0 + r < s.l ? query + r * a.q.row : nullptr; });
  const auto fetch = [&](int j0) {
    T* const k = keyTiles + j0 / kKeys % 2 * 2 * kKeys * W;
    copyRows<T, W, kKeys, Layout::kThreads>(k, s.width, a.q.data, [&](int r) { return keyRow<T>(a.cachedK, a.freshK, s, b, h, j0 + r); });
    copyRows<T, W, kKeys, Layout::kThreads>(k + kKeys * W, s.width, a.q.data,
                                            [&](int r) { return keyRow<T>(a.cachedV, a.freshV, s, b, h, j0 + r); });
    copyCommit();
  };
  fetch(0);
  const int most = mostKeys<Layout::kRows>(s, row0, a.error, a.op);
  RowState rows[M][2];
  float o[M][W / 8][4] = {};
  int ownMost = 1;
  for (int j0 = 0; j0 < most; j0 += kKeys) {
    const bool more = j0 + kKeys < most;
    if (more) fetch(j0 + kKeys);
    more ? copyWait<1>() : copyWait<0>();
    __syncthreads();
    if (row0 + own < s.l) {
      if (j0 == 0) {
#pragma unroll
        for (int m = 0; m < M; m++) {
          unsigned q[W / 16][4];
          loadLeft<T, W>(q, qTile, own + 16 * m);
          startRows<T, W>(rows[m], q, s, h, row0 + own + 16 * m + lane / 4);
          for (const RowState& r : rows[m]) ownMost = r.seen > ownMost ? r.seen : ownMost;
        }
        ownMost = warpMax(ownMost);
      }
      const T* const k = keyTiles + j0 / kKeys % 2 * 2 * kKeys * W;
      if (j0 < ownMost) attend<T, W>(qTile, own, rows, o, k, k + kKeys * W, j0);
    }
    __syncthreads();  // the next fetch writes over this tile
  }
  if (row0 + own >= s.l) return;
  T* const y = static_cast<T*>(a.y.data) + rowsAt(a.y, b, h, row0);
#pragma unroll
  for (int m = 0; m < M; m++) {
    finishRows(o[m], rows[m], a, head, row0 + own + 16 * m + lane / 4);
    storeRows<T, W>(qTile, own + 16 * m, o[m], s.width, [&](int r) -> T* { return row0 + r < s.l ? y + r * a.y.row : nullptr; });
  }
}

}  // namespace ns::cuda::att
