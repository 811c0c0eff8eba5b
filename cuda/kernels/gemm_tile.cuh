// Tiles of the GEMM family: sizes, and where a 16-byte chunk lies in shared memory so that no access has a bank conflict.
// An operand tile holds `lines` along m (or n) by one step along k. Two layouts:
//   along k:  line = row of m (or n), kRowBytes of k in it; read by ldmatrix, eight lines at the same chunk.
//   across k: line = one k, the tile's m (or n) in it; 16 bit: ldmatrix.trans, eight lines at the same chunk; f32: eight columns of four
//   lines.
// Chunks are permuted inside a line by XOR with the line's number (the swizzle of CUTLASS). cuda/test/test_gemm_banks.cpp counts the
// conflicts.
#pragma once
#include "cuda/common/half.h"
#include "cuda/common/reduce.h"

namespace ns::cuda::gemm {

constexpr int kChunkBytes = 16;

// What multiplies: tensor cores over 16-bit operands, tensor cores over f32 rounded to tf32, or f32 FMA.
template <class T>
struct Half {
  using Element = T;
  static constexpr bool kTensor = true;
};
struct Tf32 {
  using Element = float;
  static constexpr bool kTensor = true;
};
struct Exact {
  using Element = float;
  static constexpr bool kTensor = false;
};

// Block tile M x N, warp tile WM x WN, ROW bytes of k per step and STAGES steps under way.
template <int M, int N, int WM, int WN, int ROW, int STAGES>
struct Tile {
  static constexpr int kM = M, kN = N, kWarpM = WM, kWarpN = WN, kRowBytes = ROW, kStages = STAGES;
  static constexpr int kWarpsN = N / WN, kThreads = (M / WM) * kWarpsN * kWarp;
  static constexpr int kBytesA = M * ROW, kBytesB = N * ROW, kStageBytes = kBytesA + kBytesB;
  static constexpr int kPipeBytes = kStageBytes * STAGES, kStoreBytes = M * N * 4;
  static constexpr int kSharedBytes = kPipeBytes > kStoreBytes ? kPipeBytes : kStoreBytes;
  template <class E>
  static constexpr int kStepK = ROW / static_cast<int>(sizeof(E));
};
using Large = Tile<128, 128, 64, 32, 64, 4>;
using Medium = Tile<64, 64, 32, 32, 64, 4>;
// Few rows: the time is that of streaming the weights, so what counts is their bytes under way: at 4 blocks of 3 steps on an SM, 96 KiB
// with Small and 48 KiB with Few. Medium has 48 KiB too, but half as many tiles to give out.
using Small = Tile<16, 64, 16, 16, 128, 4>;
using Few = Tile<64, 32, 32, 16, 128, 4>;

// Byte offset of a chunk in a tile whose lines run along k.
template <int ROW>
__host__ __device__ constexpr int alongK(int line, int chunk) {
  static_assert(ROW == 64 || ROW == 128, "a line has 4 or 8 chunks");
  return line * ROW + (ROW == 64 ? chunk ^ ((line >> 1) & 3) : chunk ^ (line & 7)) * kChunkBytes;
}
// Byte offset of a chunk in a tile of k-lines of `COUNT` elements.
template <class E, int COUNT>
__host__ __device__ constexpr int acrossK(int k, int chunk) {
  static_assert(COUNT * sizeof(E) >= 128 && COUNT % 32 == 0, "a line has at least 8 chunks");
  // Lines of a multiple of 64 bytes and not of 128 alternate between the halves of the banks.
  const int other = sizeof(E) == 4 ? (k & 3) << 1 : COUNT % 64 == 0 ? k & 7 : (k >> 1) & 3;
  return k * COUNT * static_cast<int>(sizeof(E)) + (chunk ^ other) * kChunkBytes;
}
// Float index of an accumulator in the tile that is stored row by row.
template <int N>
__host__ __device__ constexpr int stored(int row, int col) {
  static_assert(N == 16 || N % 32 == 0, "a row has two or more groups of eight");
  return row * N + (col ^ (N == 16 ? (row & 2) << 2 : (row & 3) << 3));
}

}  // namespace ns::cuda::gemm
