// What a warp does with two operand tiles in shared memory: its WM x WN part of the product, in registers.
// Tensor cores: 16 bytes of k are one 8x8 matrix of 16-bit values, or of f32 seen as pairs: ldmatrix serves both; f32 lines across k are
// read by element. FMA: lane (g, t) owns every eighth row from g and every fourth column from t, or groups of four where lines run across
// k.
#pragma once
#include "cuda/common/ptx.h"
#include "cuda/common/vec.h"
#include "cuda/kernels/gemm_tile.cuh"

namespace ns::cuda::gemm {

// Fragments of 16 rows (A) or 16 columns (B) over 32 bytes of k: rows +0 and +8 by k +0 and +16 bytes.
// first: line of the fragment in its tile; step: which 32 bytes of k. COUNT: lines of the tile.
template <class E, bool ALONG_K, int COUNT, int ROW>
__device__ inline void loadFragment(unsigned (&r)[4], const char* tile, int first, int step, bool rowsFirst) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  if constexpr (sizeof(E) == 4 && !ALONG_K) {
    const int g = lane / 4, t = lane % 4;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int k = step * 8 + ((j >> (rowsFirst ? 1 : 0)) & 1) * 4 + t;
      const int at = first + ((j >> (rowsFirst ? 0 : 1)) & 1) * 8 + g;
      r[j] = toTf32(*reinterpret_cast<const float*>(tile + acrossK<E, COUNT>(k, at / 4) + (at & 3) * 4));
    }
  } else {
    const int matrix = lane / 8, inner = lane % 8;
    const int half = rowsFirst ? matrix & 1 : matrix >> 1, deep = rowsFirst ? matrix >> 1 : matrix & 1;
    if constexpr (ALONG_K) {
      loadMatrix4(r, tile + first * ROW + alongK<ROW>(half * 8 + inner, step * 2 + deep));  // first % 8 == 0: same permutation
    } else {
      loadMatrix4Transposed(r, tile + acrossK<E, COUNT>(step * 16 + deep * 8 + inner, first / 8 + half));
    }
    if constexpr (sizeof(E) == 4) {
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float v;
        memcpy(&v, &r[j], sizeof(v));
        r[j] = toTf32(v);
      }
    }
  }
}

template <class E>
__device__ inline void multiplyAny(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  if constexpr (sizeof(E) == 4) {
    multiplyTf32(c, a, b);
  } else {
    multiply<E>(c, a, b);
  }
}

template <class Math, class T, bool ALONG_A, bool ALONG_B, bool = Math::kTensor>
struct Warp;

template <class Math, class T, bool ALONG_A, bool ALONG_B>
struct Warp<Math, T, ALONG_A, ALONG_B, true> {
  using E = typename Math::Element;
  static constexpr int kRows = T::kWarpM / 16, kCols = T::kWarpN / 8;
  float c[kRows][kCols][4] = {};

  __device__ void multiply(const char* a, const char* b, int warpM, int warpN) {
    constexpr int kUnroll = sizeof(E) == 4 && !ALONG_B ? 1 : T::kRowBytes / 32;  // tf32 across k: offsets of more steps would spill
#pragma unroll kUnroll
    for (int step = 0; step < T::kRowBytes / 32; step++) {
      unsigned fa[kRows][4];
#pragma unroll
      for (int i = 0; i < kRows; i++) loadFragment<E, ALONG_A, T::kM, T::kRowBytes>(fa[i], a, warpM + i * 16, step, true);
#pragma unroll
      for (int j = 0; j < kCols; j += 2) {
        unsigned fb[4];
        loadFragment<E, ALONG_B, T::kN, T::kRowBytes>(fb, b, warpN + j * 8, step, false);
        const unsigned b0[2] = {fb[0], fb[1]}, b1[2] = {fb[2], fb[3]};
#pragma unroll
        for (int i = 0; i < kRows; i++) {
          multiplyAny<E>(c[i][j], fa[i], b0);
          multiplyAny<E>(c[i][j + 1], fa[i], b1);
        }
      }
    }
  }
  // f(row, column, value) within the warp's tile
  template <class F>
  __device__ void each(F f) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int i = 0; i < kRows; i++) {
#pragma unroll
      for (int j = 0; j < kCols; j++) {
#pragma unroll
        for (int e = 0; e < 4; e++) f(i * 16 + (e >> 1) * 8 + g, j * 8 + 2 * t + (e & 1), c[i][j][e]);
      }
    }
  }
};

// Line i of those that lane `at` of `lanes` owns: one in every `lanes`, or groups of four where a chunk holds four of them.
template <bool ALONG_K>
__device__ inline int ownLine(int i, int at, int lanes) {
  return ALONG_K ? i * lanes + at : (i / 4 * lanes + at) * 4 + i % 4;
}
// A chunk of a tile of f32: four k (number `step`) of own line i where lines run along k, otherwise own lines i..i+3 of line k.
template <bool ALONG_K, int COUNT, int ROW>
__device__ inline Pack<float, 4> loadOwn(const char* tile, int first, int at, int lanes, int i, int step, int k) {
  if constexpr (ALONG_K) {
    return loadPack<4>(reinterpret_cast<const float*>(tile + first * ROW + alongK<ROW>(i * lanes + at, step)));  // first % 8 == 0
  } else {
    return loadPack<4>(reinterpret_cast<const float*>(tile + acrossK<float, COUNT>(step * 4 + k, first / 4 + i / 4 * lanes + at)));
  }
}

template <class Math, class T, bool ALONG_A, bool ALONG_B>
struct Warp<Math, T, ALONG_A, ALONG_B, false> {
  static constexpr int kLanesM = 8, kLanesN = 4, kRows = T::kWarpM / kLanesM, kCols = T::kWarpN / kLanesN;
  static_assert((ALONG_A || kRows % 4 == 0) && (ALONG_B || kCols % 4 == 0), "a chunk across k holds four lines");
  float c[kRows][kCols] = {};

  __device__ void multiply(const char* a, const char* b, int warpM, int warpN) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / kLanesN, t = lane % kLanesN;
#pragma unroll 1
    for (int step = 0; step < T::kRowBytes / kChunkBytes; step++) {
      float va[kRows][4];
#pragma unroll
      for (int i = 0; i < kRows; i++) {
        if (!ALONG_A && i % 4 != 0) continue;
#pragma unroll
        for (int k = 0; k < (ALONG_A ? 1 : 4); k++) {
          const Pack<float, 4> p = loadOwn<ALONG_A, T::kM, T::kRowBytes>(a, warpM, g, kLanesM, i, step, k);
#pragma unroll
          for (int e = 0; e < 4; e++) va[ALONG_A ? i : i + e][ALONG_A ? e : k] = p.v[e];
        }
      }
      multiplyB(va, b, warpN, t, step);
    }
  }
  __device__ void multiplyB(const float (&va)[kRows][4], const char* b, int warpN, int t, int step) {
#pragma unroll
    for (int j = 0; j < kCols; j += ALONG_B ? 1 : 4) {
#pragma unroll
      for (int k = 0; k < (ALONG_B ? 1 : 4); k++) {
        const Pack<float, 4> p = loadOwn<ALONG_B, T::kN, T::kRowBytes>(b, warpN, t, kLanesN, j, step, k);
#pragma unroll
        for (int i = 0; i < kRows; i++) {
#pragma unroll
          for (int e = 0; e < 4; e++) {
            float& to = c[i][ALONG_B ? j : j + e];
            to = fmaf(va[i][ALONG_B ? e : k], p.v[e], to);
          }
        }
      }
    }
  }
  template <class F>
  __device__ void each(F f) const {
    const int lane = static_cast<int>(threadIdx.x) % kWarp, g = lane / kLanesN, t = lane % kLanesN;
#pragma unroll
    for (int i = 0; i < kRows; i++) {
#pragma unroll
      for (int j = 0; j < kCols; j++) f(ownLine<ALONG_A>(i, g, kLanesM), ownLine<ALONG_B>(j, t, kLanesN), c[i][j]);
    }
  }
};

}  // namespace ns::cuda::gemm
