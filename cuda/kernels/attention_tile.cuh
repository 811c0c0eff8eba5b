// Tiles of 16-bit rows in shared memory and products of them with fragments in registers, for the tensor-core kernels of attention.
// A row of W elements is W / 8 chunks of 16 bytes; chunk c of row r lies at place c ^ (r % 8). Eight rows of one chunk, which is what
// a matrix load reads at a time, then lie in eight different groups of four banks: no conflicts (checked in cuda/test/test_attention.cpp).
#pragma once
#include "cuda/common/ptx.h"
#include "cuda/common/reduce.h"
#include "cuda/common/shared.h"
#include "cuda/kernels/attention.cuh"

namespace ns::cuda::att {

template <int W>
__host__ __device__ inline int tileAt(int row, int chunk) {
  return row * W + ((chunk ^ (row & 7)) * 8);
}

// Rows [0, kRows) of a tile; address(row) gives the start of a row, or null for a row of zeros. Columns from width on become zero.
// any: an address that may be read, aligned to 16; it stands where nothing is.
template <class T, int W, int kRows, int kThreads, class F>
__device__ __forceinline__ void copyRows(T* tile, int width, const void* any, F address) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * (W / 8); i += kThreads) {
    const int row = i / (W / 8), chunk = i % (W / 8);
    const T* from = address(row);
    const bool valid = from != nullptr && chunk * 8 < width;
    copyAsync16(tile + tileAt<W>(row, chunk), valid ? from + chunk * 8 : any, valid);
  }
}

// Rows row0 .. row0 + 15 as left operands over W columns.
template <class T, int W>
__device__ __forceinline__ void loadLeft(unsigned (&a)[W / 16][4], const T* tile, int row0) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int k = 0; k < W / 16; k++) loadMatrix4(a[k], tile + tileAt<W>(row0 + lane % 16, 2 * k + lane / 16));
}

// s[m][n] += rows left0 + 16 m .. of one tile times rows row0 + 8 n .. of another, over columns. The left operand is read again each time:
// kept in registers it cost spills at M 2 and a block per SM at M 1.
template <class T, int W, int M, int N>
__device__ __forceinline__ void tileTimesRows(float (&s)[M][N][4], const T* left, int left0, const T* tile, int row0) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, row = row0 + lane % 8 + lane / 16 * 8, half = lane / 8 % 2;
#pragma unroll
  for (int k = 0; k < W / 16; k++) {
    unsigned a[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) loadMatrix4(a[m], left + tileAt<W>(left0 + 16 * m + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      unsigned r[4];
      loadMatrix4(r, tile + tileAt<W>(row + n * 8, 2 * k + half));
#pragma unroll
      for (int m = 0; m < M; m++) {
        multiply<T>(s[m][n], a[m], {r[0], r[1]});
        multiply<T>(s[m][n + 1], a[m], {r[2], r[3]});
      }
    }
  }
}

// o[m][n] += p[m] times columns 8 n .. of the tile, over its rows row0 .. row0 + 16 K - 1.
template <class T, int W, int M, int K>
__device__ __forceinline__ void timesColumns(float (&o)[M][W / 8][4], const unsigned (&p)[M][K][4], const T* tile, int row0) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll
  for (int k = 0; k < K; k++) {
#pragma unroll
    for (int n = 0; n < W / 8; n += 2) {
      unsigned r[4];
      loadMatrix4Transposed(r, tile + tileAt<W>(row0 + k * 16 + lane % 16, n + lane / 16));
#pragma unroll
      for (int m = 0; m < M; m++) {
        multiply<T>(o[m][n], p[m][k], {r[0], r[1]});
        multiply<T>(o[m][n + 1], p[m][k], {r[2], r[3]});
      }
    }
  }
}

// Results of a product, rounded, as the left operand of the next.
template <class T, int N>
__device__ __forceinline__ void toLeft(unsigned (&a)[N / 2][4], const float (&s)[N][4]) {
#pragma unroll
  for (int k = 0; k < N / 2; k++) {
    a[k][0] = pair<T>(s[2 * k][0], s[2 * k][1]);
    a[k][1] = pair<T>(s[2 * k][2], s[2 * k][3]);
    a[k][2] = pair<T>(s[2 * k + 1][0], s[2 * k + 1][1]);
    a[k][3] = pair<T>(s[2 * k + 1][2], s[2 * k + 1][3]);
  }
}

template <class T>
__device__ __forceinline__ float2 unpair(unsigned bits) {
  T v[2];
  memcpy(v, &bits, sizeof(v));
  return make_float2(toFloat(v[0]), toFloat(v[1]));
}

// Sum over the four lanes that hold a row of a fragment.
__device__ __forceinline__ float rowSum(float v) {
  v += __shfl_xor_sync(kAllLanes, v, 1);
  return v + __shfl_xor_sync(kAllLanes, v, 2);
}
__device__ __forceinline__ float rowMax(float v) {
  v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, 1));
  return fmaxf(v, __shfl_xor_sync(kAllLanes, v, 2));
}

// dot[half] = sum over columns of a's row times o's row, for rows g and g + 8.
template <class T, int W>
__device__ __forceinline__ void rowDots(float (&dot)[2], const unsigned (&a)[W / 16][4], const float (&o)[W / 8][4]) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < W / 8; n++) {
      const float2 x = unpair<T>(a[n / 2][n % 2 * 2 + half]);
      sum = fmaf(x.x, o[n][2 * half], fmaf(x.y, o[n][2 * half + 1], sum));
    }
    dot[half] = rowSum(sum);
  }
}

// 16 rows of results into the tile (row0 of this warp alone) and from there in whole chunks to address(row); null: not written.
template <class T, int W, class F>
__device__ __forceinline__ void storeRows(T* tile, int row0, const float (&o)[W / 8][4], int width, F address) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < W / 8; n++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const unsigned v = pair<T>(o[n][2 * half], o[n][2 * half + 1]);
      memcpy(tile + tileAt<W>(row0 + g + 8 * half, n) + 2 * t, &v, sizeof(v));
    }
  }
  __syncwarp();
  for (int i = lane; i < 16 * (W / 8); i += kWarp) {
    const int row = row0 + i / (W / 8), chunk = i % (W / 8);
    T* to = address(row);
    if (to != nullptr && chunk * 8 < width) storePack(to + chunk * 8, loadPack<8>(tile + tileAt<W>(row, chunk)));
  }
  __syncwarp();
}

}  // namespace ns::cuda::att
