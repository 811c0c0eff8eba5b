// attention_grad in f32 arithmetic, for every width and dtype: the two passes of attention_grad_mma.cuh with the tiles and products of
// attention_simt.cuh. keysSimt has 64 keys per block (dK, dV), queriesSimt 64 queries (dQ), each for 64 columns of its result; scores and
// dP are summed over chunks of 64 channels. With scaleMul dQ and dK are those of the normalised rows, in scratch, and projectRows follows.
// Every sum is one chain of multiply-adds over channels, keys or queries in order: the same bits each run.
// Floor: 10 B H c FLOPs per query and key it sees; done: 14 up to width 64, and 8 more for each further 64 columns.
// Source: FlashAttention (Dao et al. 2022, algorithm 4).
#pragma once
#include "cuda/kernels/attention_grad.cuh"
#include "cuda/kernels/attention_simt.cuh"

namespace ns::cuda::att {

static_assert(kGradTile == kSide, "tiles of queries are counted alike");

// s[r][k] += rows x0 .. of x times rows y0 .. of y, over all channels; both tiles are free again afterwards.
__device__ inline void allChannels(float (&s)[4][4], float* xTile, float* yTile, const Rows& x, int x0, const Rows& y, int y0,
                                   const Backward& a, int b, int h) {
  for (int c = 0; c < a.s.width; c += kSide) {
    loadPlain(xTile, x, b, h, x0, a.s.l, c, a.s.width, a.vector);
    loadPlain(yTile, y, b, h, y0, a.s.l, c, a.s.width, a.vector);
    __syncthreads();
    dotTiles(s, xTile, yTile);
    __syncthreads();
  }
}

// Rows of a result; scale: per row.
__device__ inline void storeTile(const Rows& to, const float (&o)[4][4], const float (&scale)[4], const Backward& a, int b, int h, int row0,
                                 int c0) {
  const Spot p = spot();
  const int c = c0 + 4 * p.tx;
  for (int r = 0; r < 4; r++) {
    const int i = row0 + 4 * p.ty + r;
    if (i >= a.s.l || c >= a.s.width) continue;
    float v[4];
    for (int e = 0; e < 4; e++) v[e] = o[r][e] * scale[r];
    storeSome(to.data, to.type, rowsAt(to, b, h, i) + c, a.s.width - c, a.vector, v);
  }
}

// grid: x = tiles of keys of all heads, y = chunks of columns.
static __global__ void __launch_bounds__(kSimtThreads, 2) keysSimt(Backward a) {
  NS_SHARED(float, xTile);
  float *const yTile = xTile + kTileFloats, *const zTile = yTile + kTileFloats;
  __shared__ Query queries[kSide];
  const Shape& s = a.s;
  const int tiles = (s.l + kSide - 1) / kSide, c0 = static_cast<int>(blockIdx.y) * kSide;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int j0 = static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles)) * kSide;
  const Spot p = spot();
  float dk[4][4] = {}, dv[4][4] = {};
  for (int tile = nextTile(a, 0, tiles, j0); tile < tiles; tile = nextTile(a, tile + 1, tiles, j0)) {
    const int row0 = tile * kSide;
    float scores[4][4] = {}, dp[4][4] = {};
    if (threadIdx.x < kSide) queries[threadIdx.x] = queryOf(a, head, row0 + static_cast<int>(threadIdx.x));
    allChannels(scores, xTile, yTile, a.k, j0, a.q, row0, a, b, h);
    allChannels(dp, xTile, yTile, a.v, j0, a.dy, row0, a, b, h);
#pragma unroll
    for (int i = 0; i < 16; i++) {
      const Query& r = queries[p.tx + 16 * (i % 4)];
      ofScore(scores[i / 4][i % 4], dp[i / 4][i % 4], r, j0 + 4 * p.ty + i / 4);
      dp[i / 4][i % 4] *= r.factor * kLn2;
    }
    keepTile(xTile, scores);
    keepTile(zTile, dp);
    loadPlain(yTile, a.dy, b, h, row0, s.l, c0, s.width, a.vector);
    __syncthreads();
    multiplyTiles(dv, xTile, yTile);
    __syncthreads();
    loadPlain(yTile, a.q, b, h, row0, s.l, c0, s.width, a.vector);
    __syncthreads();
    multiplyTiles(dk, zTile, yTile);
    __syncthreads();
  }
  const float one[4] = {1.0f, 1.0f, 1.0f, 1.0f};
  storeTile(a.dk, dk, one, a, b, h, j0, c0);
  storeTile(a.dv, dv, one, a, b, h, j0, c0);
}

static __global__ void __launch_bounds__(kSimtThreads, 2) queriesSimt(Backward a) {
  NS_SHARED(float, xTile);
  float* const yTile = xTile + kTileFloats;
  __shared__ Query queries[kSide];
  const Shape& s = a.s;
  const int tiles = (s.l + kSide - 1) / kSide, c0 = static_cast<int>(blockIdx.y) * kSide;
  const int64_t head = blockIdx.x / static_cast<unsigned>(tiles);
  const int b = static_cast<int>(head / s.heads), h = static_cast<int>(head % s.heads);
  const int tile = tiles - 1 - static_cast<int>(blockIdx.x % static_cast<unsigned>(tiles)), row0 = tile * kSide;
  const int most = a.most ? a.most[tile] : s.keys;
  const Spot p = spot();
  if (threadIdx.x < kSide) queries[threadIdx.x] = queryOf(a, head, row0 + static_cast<int>(threadIdx.x));
  float dq[4][4] = {};
  for (int j0 = 0; j0 < most; j0 += kSide) {
    float scores[4][4] = {}, dp[4][4] = {};
    allChannels(scores, xTile, yTile, a.q, row0, a.k, j0, a, b, h);
    allChannels(dp, xTile, yTile, a.dy, row0, a.v, j0, a, b, h);
#pragma unroll
    for (int i = 0; i < 16; i++) ofScore(scores[i / 4][i % 4], dp[i / 4][i % 4], queries[4 * p.ty + i / 4], j0 + p.tx + 16 * (i % 4));
    keepTile(xTile, dp);
    loadPlain(yTile, a.k, b, h, j0, s.l, c0, s.width, a.vector);
    __syncthreads();
    multiplyTiles(dq, xTile, yTile);
    __syncthreads();
  }
  const float factor = headFactor(s, h);
  float scale[4];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    int seen;
    const int row = row0 + 4 * p.ty + i;
    scale[i] = row < s.l && !keysSeen(s, row, seen) ? NAN : factor;
  }
  storeTile(a.dq, dq, scale, a, b, h, row0, c0);
}

}  // namespace ns::cuda::att
