// The one GEMM kernel: C = A B over tiles of k, copies kStages - 1 steps ahead of the products, epilogue through shared memory so that
// stores are rows. Floor: max(2 M N K FLOP at the tensor cores, one read of A and B and one write of C at DRAM).
// Values do not depend on the tile size: each output is summed over k in order; only a split of k (another number of partial sums) changes
// bits. Reference: the multistage mainloop of CUTLASS 2.x.
#pragma once
#include "cuda/common/launch.h"
#include "cuda/common/shared.h"
#include "cuda/kernels/epilogue.cuh"
#include "cuda/kernels/gemm_load.cuh"
#include "cuda/kernels/gemm_sum.cuh"
#include "cuda/kernels/gemm_warp.cuh"

namespace ns::cuda::gemm {

template <class A, class B>
struct Product {
  A a;
  B b;
  int m, n, k;
  int depth = 0;             // k of one split: a multiple of every step
  float* partial = nullptr;  // [split][batch][m][n], aligned to 16, instead of the epilogue
  int tilesM = 0, tilesN = 0;
  Epilogue epilogue;
  unsigned* tickets = nullptr;  // [batch][tile]: the last block of a tile sums the parts; null: they stay in `partial`
};

// The part of a thread in copying one operand: the same chunk of several lines (along k), or of several k.
template <class L, class E, int COUNT, int ROW, int THREADS>
struct Copier {
  static constexpr int kChunks = COUNT * ROW / kChunkBytes, kTimes = (kChunks + THREADS - 1) / THREADS;
  static constexpr int kPerLine = (L::kAlongK ? ROW : COUNT * static_cast<int>(sizeof(E))) / kChunkBytes;
  static constexpr int kElements = kChunkBytes / static_cast<int>(sizeof(E)), kStates = L::kAlongK ? kTimes : 1;
  static_assert(THREADS % kPerLine == 0, "each thread copies the same chunk of each line");
  typename L::State state[kStates];

  __device__ static int line(int i) { return (static_cast<int>(threadIdx.x) + i * THREADS) / kPerLine; }
  __device__ static int chunk() { return static_cast<int>(threadIdx.x) % kPerLine; }
  __device__ void start(const L& from, int first) {
#pragma unroll
    for (int i = 0; i < kStates; i++) {
      state[i] = from.template start<E>(first + (L::kAlongK ? line(i) : chunk() * kElements));
    }
  }
  __device__ void copy(const L& from, char* tile, int k) const {
#pragma unroll
    for (int i = 0; i < kTimes; i++) {
      if (kChunks % THREADS != 0 && static_cast<int>(threadIdx.x) + i * THREADS >= kChunks) break;
      if constexpr (L::kAlongK) {
        from.template fill<E>(tile + alongK<ROW>(line(i), chunk()), state[i], k + chunk() * kElements);
      } else {
        from.template fill<E>(tile + acrossK<E, COUNT>(line(i), chunk()), state[0], k + line(i));
      }
    }
  }
};

// Sums k in [k0, k1) of the tile at (m0, n0) into the warp's registers. Ends with no copy under way and shared memory free.
template <class Math, class T, class A, class B, class W>
__device__ inline void mainloop(W& warp, char* shared, const A& a, const B& b, int m0, int n0, int k0, int k1) {
  using E = typename Math::Element;
  constexpr int kStep = T::template kStepK<E>;
  Copier<A, E, T::kM, T::kRowBytes, T::kThreads> copyA;
  Copier<B, E, T::kN, T::kRowBytes, T::kThreads> copyB;
  copyA.start(a, m0);
  copyB.start(b, n0);
  const int index = static_cast<int>(threadIdx.x) / kWarp;
  const int warpM = index / T::kWarpsN * T::kWarpM, warpN = index % T::kWarpsN * T::kWarpN;
  int filling = 0, k = k0;
  const auto fill = [&] {
    if (k < k1) {
      copyA.copy(a, shared + filling * T::kStageBytes, k);
      copyB.copy(b, shared + filling * T::kStageBytes + T::kBytesA, k);
    }
    copyCommit();  // an empty group keeps the count
    k += kStep;
    filling = filling + 1 == T::kStages ? 0 : filling + 1;
  };
#pragma unroll
  for (int i = 0; i < T::kStages - 1; i++) fill();
  int using_ = 0;
#pragma unroll 1
  for (int at = k0; at < k1; at += kStep) {
    copyWait<T::kStages - 2>();
    __syncthreads();
    fill();  // overwrites what every warp has read before the barrier
    const char* stage = shared + using_ * T::kStageBytes;
    warp.multiply(stage, stage + T::kBytesA, warpM, warpN);
    using_ = using_ + 1 == T::kStages ? 0 : using_ + 1;
  }
  copyWait<0>();
  __syncthreads();
}

// The warps' registers as rows in shared memory.
template <class T, class W>
__device__ inline void keepTile(const W& warp, char* shared) {
  float* rows = reinterpret_cast<float*>(shared);
  const int index = static_cast<int>(threadIdx.x) / kWarp;
  const int warpM = index / T::kWarpsN * T::kWarpM, warpN = index % T::kWarpsN * T::kWarpN;
  warp.each([&](int row, int col, float v) { rows[stored<T::kN>(warpM + row, warpN + col)] = v; });
  __syncthreads();
}

// A tile in the product: its first row and column, and what of it lies inside.
struct Place {
  int z, m0, n0, m, n;
};

// The tile as it was kept, to rows of `pitch` elements.
template <class T>
__device__ inline void storePart(const char* shared, const Place& at, float* to, int pitch) {
  const float* rows = reinterpret_cast<const float*>(shared);
  const bool packed = pitch % 4 == 0;
  for (int i = static_cast<int>(threadIdx.x); i < T::kM * T::kN / 4; i += T::kThreads) {
    const int row = i / (T::kN / 4), col = i % (T::kN / 4) * 4;
    if (row >= at.m || col >= at.n) continue;
    const Pack<float, 4> v = loadPack<4>(rows + stored<T::kN>(row, col));
    float* own = to + static_cast<int64_t>(row) * pitch + col;
    if (packed) {
      storePack(own, v);
      continue;
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
      if (col + j < at.n) own[j] = v.v[j];
    }
  }
}

// The epilogue over the tile as it was kept, or over the sum of its parts where partial (of its first element) is not null. A thread has
// two times four columns at once: the latency of their loads is most of the time where rows are few.
template <class T>
__device__ inline void finishTile(const char* shared, const Place& at, const float* partial, int pitch, const Parts& parts,
                                  const Epilogue& e) {
  constexpr int kTogether = T::kM < 64 ? 1 : 2;  // few rows: one is all that a thread has
  static_assert(T::kM * T::kN / 4 % (kTogether * T::kThreads) == 0, "every thread has as many");
  const float* rows = reinterpret_cast<const float*>(shared);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < T::kM * T::kN / 4; i += kTogether * T::kThreads) {
    Pack<float, 4> v[kTogether];
    Epilogue::Beside beside[kTogether];
    int row[kTogether], col[kTogether];
    const float* from[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; j++) {
      row[j] = (i + j * T::kThreads) / (T::kN / 4);
      col[j] = (i + j * T::kThreads) % (T::kN / 4) * 4;
      const bool inside = row[j] < at.m && col[j] < at.n;
      if (inside) beside[j] = e.load(at.z, at.m0 + row[j], at.n0 + col[j]);
      from[j] = partial && inside ? partial + static_cast<int64_t>(row[j]) * pitch + col[j] : nullptr;
      if (!partial) v[j] = loadPack<4>(rows + stored<T::kN>(row[j], col[j]));
    }
    if (partial) sumQuads(from, parts, v);
#pragma unroll
    for (int j = 0; j < kTogether; j++) {
      if (row[j] < at.m && col[j] < at.n) e.store(at.z, at.m0 + row[j], at.n0 + col[j], v[j], beside[j]);
    }
  }
}

// The same by single columns, for the few products whose rows are not aligned.
template <class T>
__device__ inline void finishTileByOnes(const char* shared, const Place& at, const float* partial, int pitch, const Parts& parts,
                                        const Epilogue& e) {
  const float* rows = reinterpret_cast<const float*>(shared);
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < T::kM * T::kN; i += T::kThreads) {
    const int row = i / T::kN, col = i % T::kN;
    if (row >= at.m || col >= at.n) continue;
    const float v = partial ? sumOne(partial + static_cast<int64_t>(row) * pitch + col, parts) : rows[stored<T::kN>(row, col)];
    e.storeOne(at.z, at.m0 + row, at.n0 + col, v);
  }
}

// Neighbouring blocks share operands in L2: eight tiles down, then the next column.
__device__ inline void tileOf(int index, int tilesM, int tilesN, int& tileM, int& tileN) {
  constexpr int kGroup = 8;
  const int group = index / (kGroup * tilesN), inside = index % (kGroup * tilesN);
  const int left = tilesM - group * kGroup, height = left < kGroup ? left : kGroup;
  tileM = group * kGroup + inside % height;
  tileN = inside / height;
}

template <class Math, class T, class A, class B>
__global__ void __launch_bounds__(T::kThreads, 512 / T::kThreads) product(Product<A, B> p) {
  NS_SHARED(char, shared);
  int tileM, tileN;
  tileOf(static_cast<int>(blockIdx.x), p.tilesM, p.tilesN, tileM, tileN);
  const int m0 = tileM * T::kM, n0 = tileN * T::kN, z = static_cast<int>(blockIdx.z), split = static_cast<int>(blockIdx.y);
  const int k0 = split * p.depth, k1 = p.k - k0 < p.depth ? p.k : k0 + p.depth;
  p.a.batch(z);
  p.b.batch(z);
  Warp<Math, T, A::kAlongK, B::kAlongK> warp;
  mainloop<Math, T>(warp, shared, p.a, p.b, m0, n0, k0, k1);
  keepTile<T>(warp, shared);
  const Place at{z, m0, n0, p.m - m0, p.n - n0};
  const Parts parts{static_cast<int>(gridDim.y), static_cast<int64_t>(gridDim.z) * p.m * p.n};
  float* partial = nullptr;
  if (p.partial) {
    partial = p.partial + (static_cast<int64_t>(z) * p.m + m0) * p.n + n0;
    storePart<T>(shared, at, partial + split * parts.step, p.n);
    if (!p.tickets || !lastOf(p.tickets + static_cast<int64_t>(z) * gridDim.x + blockIdx.x, gridDim.y)) return;
  }
  if (p.epilogue.byFours(p.n)) return finishTile<T>(shared, at, partial, p.n, parts, p.epilogue);
  finishTileByOnes<T>(shared, at, partial, p.n, parts, p.epilogue);
}

template <class Math, class T, class A, class B>
Status start(const Context& ctx, Product<A, B>& p, int splits, int batch) {
  p.tilesM = static_cast<int>(divUp(p.m, T::kM));
  p.tilesN = static_cast<int>(divUp(p.n, T::kN));
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(p.tilesM * p.tilesN), static_cast<unsigned>(splits), static_cast<unsigned>(batch));
  shape.block = dim3(T::kThreads);
  shape.shared = T::kSharedBytes;
  return launch(ctx, product<Math, T, A, B>, shape, p);
}

}  // namespace ns::cuda::gemm
