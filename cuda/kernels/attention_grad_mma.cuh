// attention_grad on tensor cores: 16-bit qkv, widths that are multiples of 8 up to 64. Two passes without atomics, each with the
// probabilities computed again from lse: keysMma has 64 keys per block and goes through the queries that see them (dK, dV), queriesMma has
// 64 queries and goes through their keys (dQ). Rows of a warp are the left operand; scores stay in registers, 32 at a time, and are
// rounded to 16 bit for the second product, which is summed in f32. The l2 norm of q is a factor on the scores; gradients go through both
// norms in registers before they are written.
// Floor: 10 B H c FLOPs per query and key it sees; the two passes do 14 (scores and dP twice), which costs less than the atomics or the
// partial sums in memory that one pass takes. Bytes: q, k, v, dy, dqkv once; q and dy again per 64 keys, k and v per 64 queries, from L2.
// Source: FlashAttention-2 (Dao 2023, algorithm 2); q/k normalisation and scale of VAR's SelfAttention.
#pragma once
#include "cuda/kernels/attention_grad.cuh"
#include "cuda/kernels/attention_tile.cuh"

namespace ns::cuda::att {

constexpr int kGradWarps = 4, kGradThreads = kGradWarps * kWarp;
constexpr int kGradWidth = 64;
constexpr int kGradTileSize = kGradTile * kGradWidth;
constexpr size_t kGradBytes = 6 * kGradTileSize * 2;  // two tiles of the block's own rows, two times two of the others
constexpr int kGradPart = 32;                         // columns of scores at a time

// Rows first .. of two arrays into two tiles one behind the other.
template <class T>
__device__ __forceinline__ void fetchRows(T* tile, const Rows& x, const Rows& y, const Shape& s, int b, int h, int first) {
  const T* const xs = static_cast<const T*>(x.data) + rowsAt(x, b, h, first);
  const T* const ys = static_cast<const T*>(y.data) + rowsAt(y, b, h, first);
  copyRows<T, kGradWidth, kGradTile, kGradThreads>(tile, s.width, xs,
                                                   [&](int r) -> const T* { return first + r < s.l ? xs + r * x.row : nullptr; });
  copyRows<T, kGradWidth, kGradTile, kGradThreads>(tile + kGradTileSize, s.width, ys,
                                                   [&](int r) -> const T* { return first + r < s.l ? ys + r * y.row : nullptr; });
  copyCommit();
}

// From the gradient g of a normalised row to that of the row, in fragments; u times unit is the normalised row. Gives u . g.
template <class T>
__device__ __forceinline__ void projectFragment(float (&g)[kGradWidth / 8][4], const unsigned (&u)[kGradWidth / 16][4],
                                                const float (&length)[2], const float (&unit)[2], float (&dot)[2]) {
  rowDots<T, kGradWidth>(dot, u, g);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    dot[half] *= unit[half];
    const float along = (length[half] > kLeastNorm ? dot[half] : 0.0f) * unit[half], inverse = 1.0f / length[half];
#pragma unroll
    for (int n = 0; n < kGradWidth / 8; n++) {
      const float2 x = unpair<T>(u[n / 2][n % 2 * 2 + half]);
      g[n][2 * half] = fmaf(-x.x, along, g[n][2 * half]) * inverse;
      g[n][2 * half + 1] = fmaf(-x.y, along, g[n][2 * half + 1]) * inverse;
    }
  }
}

// 32 queries from q0 of their tile on against the keys of a warp.
template <class T>
__device__ __forceinline__ void keysPart(float (&dk)[1][8][4], float (&dv)[1][8][4], const T* keys, const T* others, const Query* queries,
                                         int own, int j, int q0) {
  float s[1][4][4] = {}, dp[1][4][4] = {};
  tileTimesRows<T, kGradWidth>(s, keys, own, others, q0);
  tileTimesRows<T, kGradWidth>(dp, keys + kGradTileSize, own, others + kGradTileSize, q0);
  const int t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const Query r = loadQuery(queries + q0 + i / 2 * 8 + 2 * t + i % 2);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float& x = dp[0][i / 2][2 * half + i % 2];
      ofScore(s[0][i / 2][2 * half + i % 2], x, r, j + 8 * half);
      x *= r.factor * kLn2;
    }
  }
  unsigned left[1][2][4];
  toLeft<T>(left[0], s[0]);
  timesColumns<T, kGradWidth>(dv, left, others + kGradTileSize, q0);
  toLeft<T>(left[0], dp[0]);
  timesColumns<T, kGradWidth>(dk, left, others, q0);
}

template <class T>
__global__ void __launch_bounds__(kGradThreads) keysMma(Backward a) {
  NS_SHARED(T, keys);
  __shared__ Query queries[kGradTile];
  T* const others = keys + 2 * kGradTileSize;
  const Shape& s = a.s;
  const int tiles = (s.l + kGradTile - 1) / kGradTile;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int j0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles)) * kGradTile;  // the first keys are seen by most
  const int lane = static_cast<int>(threadIdx.x) % kWarp, own = static_cast<int>(threadIdx.x) / kWarp * 16;
  const auto fetch = [&](int tile, int buffer) {
    fetchRows<T>(others + buffer * 2 * kGradTileSize, a.q, a.dy, s, b, h, tile * kGradTile);
    const int i = tile * kGradTile + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= kGradTile) return Query();
    Query r = queryOf(a, head, i);
    // The factor of a row of zeros is no 16-bit number, and the row gives the keys nothing.
    if (i < s.l && a.qLength && a.qLength[head * s.l + i] <= kLeastNorm) r.factor = 0.0f;
    return r;
  };
  fetchRows<T>(keys, a.k, a.v, s, b, h, j0);
  float dk[1][8][4] = {}, dv[1][8][4] = {};
  int tile = nextTile(a, 0, tiles, j0), buffer = 0;
  Query mine{};  // of the tile that comes next: two tiles of them in shared memory would cost sm_86 and 89 the second block of an SM
  if (tile < tiles) mine = fetch(tile, 0);
  while (tile < tiles) {
    if (threadIdx.x < kGradTile) queries[threadIdx.x] = mine;
    const int next = nextTile(a, tile + 1, tiles, j0);
    if (next < tiles) mine = fetch(next, 1 - buffer);
    next < tiles ? copyWait<1>() : copyWait<0>();
    __syncthreads();
    const T* const other = others + buffer * 2 * kGradTileSize;
#pragma unroll 1
    for (int q0 = 0; q0 < kGradTile; q0 += kGradPart) keysPart<T>(dk, dv, keys, other, queries, own, j0 + own + lane / 4, q0);
    __syncthreads();
    tile = next;
    buffer = 1 - buffer;
  }
  copyWait<0>();
  __syncthreads();
  if (a.kLength) {
    unsigned u[kGradWidth / 16][4];
    loadLeft<T, kGradWidth>(u, keys, own);
    const int j = j0 + own + lane / 4;
    const float* const lengths = a.kLength + head * s.l;
    const float length[2] = {j < s.l ? lengths[j] : 1.0f, j + 8 < s.l ? lengths[j + 8] : 1.0f}, unit[2] = {1.0f, 1.0f};
    float dot[2];
    projectFragment<T>(dk[0], u, length, unit, dot);
  }
  T* const toK = static_cast<T*>(a.dk.data) + rowsAt(a.dk, b, h, j0);
  T* const toV = static_cast<T*>(a.dv.data) + rowsAt(a.dv, b, h, j0);
  storeRows<T, kGradWidth>(keys, own, dk[0], s.width, [&](int r) -> T* { return j0 + r < s.l ? toK + r * a.dk.row : nullptr; });
  storeRows<T, kGradWidth>(keys, own, dv[0], s.width, [&](int r) -> T* { return j0 + r < s.l ? toV + r * a.dv.row : nullptr; });
}

// 32 keys from k0 of their tile on against the queries of a warp. j: key of this thread's first column.
template <class T>
__device__ __forceinline__ void queriesPart(float (&dq)[1][8][4], const T* rows, const T* others, const Query (&r)[2], int own, int j,
                                            int k0) {
  float s[1][4][4] = {}, dp[1][4][4] = {};
  tileTimesRows<T, kGradWidth>(s, rows, own, others, k0);
  tileTimesRows<T, kGradWidth>(dp, rows + kGradTileSize, own, others + kGradTileSize, k0);
#pragma unroll
  for (int i = 0; i < 16; i++) ofScore(s[0][i / 4][i % 4], dp[0][i / 4][i % 4], r[i % 4 / 2], j + i / 4 * 8 + i % 2);
  unsigned left[1][2][4];
  toLeft<T>(left[0], dp[0]);
  timesColumns<T, kGradWidth>(dq, left, others, k0);
}

// Scale, norm and the part of scaleMul; a query whose number of keys is out of range becomes NaN.
template <class T>
__device__ __forceinline__ void finishQueries(const Backward& a, float (&dq)[8][4], const T* rows, int own, int64_t head, int i) {
  const float factor = headFactor(a.s, static_cast<int>(head % a.s.heads));
  float length[2] = {1.0f, 1.0f}, unit[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int seen;
    const bool real = i + 8 * half < a.s.l;
    const float scale = real && !keysSeen(a.s, i + 8 * half, seen) ? NAN : factor;
    if (real && a.qLength) length[half] = a.qLength[head * a.s.l + i + 8 * half];
    unit[half] = 1.0f / length[half];
#pragma unroll
    for (int n = 0; n < 8; n++) {
      dq[n][2 * half] *= scale;
      dq[n][2 * half + 1] *= scale;
    }
  }
  if (!a.qLength) return;
  unsigned u[kGradWidth / 16][4];
  loadLeft<T, kGradWidth>(u, rows, own);
  float dot[2];
  projectFragment<T>(dq, u, length, unit, dot);
  for (int half = 0; half < 2; half++) {
    if (a.rowScale && threadIdx.x % 4 == 0 && i + 8 * half < a.s.l) a.rowScale[head * a.s.l + i + 8 * half] = dot[half];
  }
}

template <class T>
__global__ void __launch_bounds__(kGradThreads) queriesMma(Backward a) {
  NS_SHARED(T, rows);
  T* const others = rows + 2 * kGradTileSize;
  const Shape& s = a.s;
  const int tiles = (s.l + kGradTile - 1) / kGradTile;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int tile = tiles - 1 - static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles)), row0 = tile * kGradTile;
  const int lane = static_cast<int>(threadIdx.x) % kWarp, own = static_cast<int>(threadIdx.x) / kWarp * 16;
  const int most = a.most ? a.most[tile] : s.keys;
  fetchRows<T>(rows, a.q, a.dy, s, b, h, row0);
  fetchRows<T>(others, a.k, a.v, s, b, h, 0);
  const Query r[2] = {queryOf(a, head, row0 + own + lane / 4), queryOf(a, head, row0 + own + lane / 4 + 8)};
  const int ownMost = warpMax(r[0].seen > r[1].seen ? r[0].seen : r[1].seen);
  float dq[1][8][4] = {};
  for (int j0 = 0; j0 < most; j0 += kGradTile) {
    const bool more = j0 + kGradTile < most;
    if (more) fetchRows<T>(others + (j0 / kGradTile + 1) % 2 * 2 * kGradTileSize, a.k, a.v, s, b, h, j0 + kGradTile);
    more ? copyWait<1>() : copyWait<0>();
    __syncthreads();
    const T* const other = others + j0 / kGradTile % 2 * 2 * kGradTileSize;
#pragma unroll 1
    for (int k0 = 0; k0 < kGradTile && j0 + k0 < ownMost; k0 += kGradPart) {
      queriesPart<T>(dq, rows, other, r, own, j0 + k0 + lane % 4 * 2, k0);
    }
    __syncthreads();
  }
  finishQueries<T>(a, dq[0], rows, own, head, row0 + own + lane / 4);
  T* const to = static_cast<T*>(a.dq.data) + rowsAt(a.dq, b, h, row0);
  storeRows<T, kGradWidth>(rows, own, dq[0], s.width, [&](int i) -> T* { return row0 + i < s.l ? to + i * a.dq.row : nullptr; });
}

}  // namespace ns::cuda::att
