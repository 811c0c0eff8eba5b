// attention in f32 arithmetic, for every width and dtype. A block of 256 threads takes 64 rows of one head and up to 64 G columns of its
// output, goes through the keys in tiles of 64 counted from key 0 and computes the scores over chunks of 64 channels: 4 x 4 scores per
// thread, one fused multiply-add chain per score over all channels in order. Weights go through shared memory to the product with the
// values. A row's bits depend on its query and the keys that it sees alone: the order is that of keys and channels, and a masked key
// adds an exact zero. Warps without rows do not compute.
// Floor: 4 B H c FLOPs per query and key it sees; bytes: qkv, caches and y once. From width 128 G on, the scores are computed again for
// each 64 G columns (c 512, G 4: 1.5 times the floor, and twice the blocks: a VQVAE's one head gives few).
// Limits: 64 rows per block, no split over keys; loads are not overlapped with arithmetic but by other blocks of the SM (51 KiB each).
// Source: FlashAttention (Dao et al. 2022, algorithm 1).
#pragma once
#include "cuda/common/shared.h"
#include "cuda/kernels/attention.cuh"

namespace ns::cuda::att {

constexpr int kSide = 64;          // rows, keys and channels of a tile
constexpr int kLine = kSide + 4;   // floats from row to row: eight rows of one float4 column lie in different banks
constexpr int kSimtThreads = 256;  // 16 x 16 threads of 4 x 4 values
constexpr int kTileFloats = kSide * kLine;

struct SimtForward {
  Shape s;
  Rows q, y;
  Rows cachedK, cachedV, freshK, freshV;
  float* lse;
  DeviceError* error;
  int32_t op;
  bool vector;  // rows may be read four channels at a time
};

struct Spot {
  int tx, ty;  // of 16 x 16; a thread has rows 4 ty .. 4 ty + 3
};
__device__ inline Spot spot() { return {static_cast<int>(threadIdx.x) % 16, static_cast<int>(threadIdx.x) / 16}; }

// 64 rows of channels c0 .. c0 + 63 as f32, rows and columns that do not exist as zeros. at(row): -1, or the element where it starts.
template <class F>
__device__ inline void loadTile(float* tile, int c0, int width, bool vector, F at) {
#pragma unroll 2
  for (int i = static_cast<int>(threadIdx.x); i < kSide * kSide / 4; i += kSimtThreads) {
    const int row = i / 16, c = i % 16 * 4;
    float v[4] = {};
    at(row, c0 + c, width - c0 - c, vector, v);
    storePack(tile + row * kLine + c, Pack<float, 4>{{v[0], v[1], v[2], v[3]}});
  }
}

// Rows first .. of an array, below end.
__device__ inline void loadPlain(float* tile, const Rows& r, int b, int h, int first, int end, int c0, int width, bool vector) {
  loadTile(tile, c0, width, vector, [&](int row, int c, int left, bool whole, float(&v)[4]) {
    if (first + row < end && left > 0) loadSome(r.data, r.type, rowsAt(r, b, h, first + row) + c, left, whole, v);
  });
}

// Keys or values j0 .. of the cache and behind it.
__device__ inline void loadKeys(float* tile, const Rows& cached, const Rows& fresh, const Shape& s, int b, int h, int j0, int c0,
                                bool vector) {
  loadTile(tile, c0, s.width, vector, [&](int row, int c, int left, bool whole, float(&v)[4]) {
    const int j = j0 + row;
    if (j >= s.keys || left <= 0) return;
    const Rows& r = j < s.pos ? cached : fresh;
    loadSome(r.data, r.type, rowsAt(r, b, h, j < s.pos ? j : j - s.pos) + c, left, whole, v);
  });
}

// s[r][k] += row 4 ty + r of x times row tx + 16 k of y, over 64 channels in order.
__device__ inline void dotTiles(float (&s)[4][4], const float* x, const float* y) {
  const Spot p = spot();
#pragma unroll 4
  for (int c = 0; c < kSide; c += 4) {
    Pack<float, 4> a[4], b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      a[i] = loadPack<4>(x + (4 * p.ty + i) * kLine + c);
      b[i] = loadPack<4>(y + (p.tx + 16 * i) * kLine + c);
    }
#pragma unroll
    for (int e = 0; e < 4; e++) {
#pragma unroll
      for (int i = 0; i < 16; i++) s[i / 4][i % 4] = fmaf(a[i / 4].v[e], b[i % 4].v[e], s[i / 4][i % 4]);
    }
  }
}

// o[r][c] += sum over k of w[4 ty + r][k] times y[k][4 tx + c], k in order.
__device__ inline void multiplyTiles(float (&o)[4][4], const float* w, const float* y) {
  const Spot p = spot();
#pragma unroll 4
  for (int k = 0; k < kSide; k += 4) {
    Pack<float, 4> a[4], b[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      a[i] = loadPack<4>(w + (4 * p.ty + i) * kLine + k);
      b[i] = loadPack<4>(y + (k + i) * kLine + 4 * p.tx);
    }
#pragma unroll
    for (int e = 0; e < 4; e++) {
#pragma unroll
      for (int i = 0; i < 16; i++) o[i / 4][i % 4] = fmaf(a[i / 4].v[e], b[e].v[i % 4], o[i / 4][i % 4]);
    }
  }
}

// A thread's values of dotTiles into a tile of rows and keys.
__device__ inline void keepTile(float* tile, const float (&s)[4][4]) {
  const Spot p = spot();
#pragma unroll
  for (int i = 0; i < 16; i++) tile[(4 * p.ty + i / 4) * kLine + p.tx + 16 * (i % 4)] = s[i / 4][i % 4];
}

template <class Op>
__device__ inline float overRow(float v, Op op) {
  for (int d = 8; d > 0; d /= 2) v = op(v, __shfl_xor_sync(kAllLanes, v, d));
  return v;
}

// Lengths of 64 rows of q (1 where they are not normalised), four threads each.
__device__ inline void rowLengths(float* lengths, const Rows& q, const Shape& s, int b, int h, int row0) {
  const int row = static_cast<int>(threadIdx.x) / 4;
  float sum = 0.0f;
  if (s.scaleMul && row0 + row < s.l) {
    const int64_t at = rowsAt(q, b, h, row0 + row);
    for (int c = static_cast<int>(threadIdx.x) % 4; c < s.width; c += 4) {
      const float x = loadAny(q.data, q.type, at + c);
      sum = fmaf(x, x, sum);
    }
  }
  const float length = sqrtf(sumOverLanes(sum, 4));
  if (threadIdx.x % 4 == 0) lengths[row] = !s.scaleMul ? 1.0f : length < kLeastNorm ? kLeastNorm : length;
}

struct SimtRow {
  float factor, max, sum;
  int seen;
};

// Scores to weights under the running maximum; returns what the sums so far are multiplied by.
__device__ inline float softmaxRow(float (&s)[4], SimtRow& r, int j0) {
  const int tx = spot().tx;
  float top = r.max;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    s[k] = j0 + tx + 16 * k < r.seen ? s[k] * r.factor : -INFINITY;
    top = fmaxf(top, s[k]);
  }
  top = overRow(top, [](float x, float y) { return fmaxf(x, y); });
  const float alpha = exp2f(r.max - top);
  r.max = top;
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < 4; k++) {
    s[k] = exp2f(s[k] - top);
    sum += s[k];
  }
  r.sum = fmaf(r.sum, alpha, overRow(sum, Sum()));
  return alpha;
}

template <int G>
__device__ inline void finishSimt(const SimtForward& a, const SimtRow (&rows)[4], const float (&o)[G][4][4], int64_t head, int row0,
                                  int c0) {
  const Spot p = spot();
  const int b = static_cast<int>(head / a.s.heads), h = static_cast<int>(head % a.s.heads);
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const int i = row0 + 4 * p.ty + r;
    if (i >= a.s.l) continue;
    int seen;
    const float sum = keysSeen(a.s, i, seen) ? rows[r].sum : NAN;
    if (a.lse && p.tx == 0 && c0 == 0) a.lse[head * a.s.l + i] = fmaf(rows[r].max, kLn2, logf(sum));
    const int64_t at = rowsAt(a.y, b, h, i);
#pragma unroll
    for (int g = 0; g < G; g++) {
      const int c = c0 + g * kSide + 4 * p.tx;
      float v[4];
      for (int e = 0; e < 4; e++) v[e] = o[g][r][e] / sum;
      if (c < a.s.width) storeSome(a.y.data, a.y.type, at + c, a.s.width - c, a.vector, v);
    }
  }
}

__device__ inline int mostKeysOf(const Shape& s, int row0, DeviceError* error, int32_t op) {
  int most = s.visible ? 1 : s.keys;
  const int i = row0 + static_cast<int>(threadIdx.x);
  if (s.visible && threadIdx.x < kSide && i < s.l) {
    if (!keysSeen(s, i, most)) raise(error, op, NS_INDEX, i, s.visible[i]);
  }
  return blockMax(most);
}

// grid: x = tiles of rows of all heads, y = groups of columns.
template <int G>
__global__ void __launch_bounds__(kSimtThreads, G == 1 ? 2 : 1) attentionSimt(SimtForward a) {
  NS_SHARED(float, qTile);
  float *const kTile = qTile + kTileFloats, *const vTile = kTile + kTileFloats;
  __shared__ float lengths[kSide];
  const Shape& s = a.s;
  const int tiles = (s.l + kSide - 1) / kSide, c0 = static_cast<int>(blockIdx.y) * G * kSide;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int row0 = (tiles - 1 - static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles))) * kSide;
  const int first = row0 + static_cast<int>(threadIdx.x) / kWarp * 8;  // of this warp
  rowLengths(lengths, a.q, s, b, h, row0);
  const int most = mostKeysOf(s, row0, a.error, a.op);
  __syncthreads();
  SimtRow rows[4];
#pragma unroll
  for (int r = 0; r < 4; r++) {
    const int i = row0 + 4 * spot().ty + r;
    rows[r] = {headFactor(s, h) * kLog2e / lengths[4 * spot().ty + r], -INFINITY, 0.0f, 1};
    if (i < s.l) keysSeen(s, i, rows[r].seen);
  }
  float o[G][4][4] = {};
  for (int j0 = 0; j0 < most; j0 += kSide) {
    float scores[4][4] = {};
    for (int c = 0; c < s.width; c += kSide) {
      if (j0 == 0 || s.width > kSide) loadPlain(qTile, a.q, b, h, row0, s.l, c, s.width, a.vector);
      loadKeys(kTile, a.cachedK, a.freshK, s, b, h, j0, c, a.vector);
      __syncthreads();
      if (first < s.l) dotTiles(scores, qTile, kTile);
      __syncthreads();
    }
    if (first < s.l) {
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const float alpha = softmaxRow(scores[r], rows[r], j0);
#pragma unroll
        for (int i = 0; i < G * 4; i++) o[i / 4][r][i % 4] *= alpha;
      }
      keepTile(kTile, scores);
    }
#pragma unroll
    for (int g = 0; g < G; g++) {
      if (c0 + g * kSide < s.width) {
        loadKeys(vTile, a.cachedV, a.freshV, s, b, h, j0, c0 + g * kSide, a.vector);
        __syncthreads();
        if (first < s.l) multiplyTiles(o[g], kTile, vTile);
        __syncthreads();
      }
    }
  }
  if (first < s.l) finishSimt<G>(a, rows, o, head, row0, c0);
}

}  // namespace ns::cuda::att
