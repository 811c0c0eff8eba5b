// vq_lookup: index of the nearest code of every vector, without the N x V distances.
// Floor: 2 N V C FLOPs in f32; bytes: vectors and indices once, the codebook once per 64 vectors (from L2). A block holds 64 x 128 products
// in registers, keeps the smallest cost of each row and meets the other blocks of the row in one 64-bit minimum of (cost, index): the first
// of equal codes wins, whatever the order. |z|^2 is the same for all codes and left out: |e|^2 - 2 z.e orders them alike and rounds less.
// Reference: VectorQuantizer2.forward and f_to_idxBl_or_fhat of VAR (squared distance, or cosine of normalised vectors).
#include <algorithm>

#include "cuda/common/launch.h"
#include "cuda/common/reduce.h"

namespace ns::cuda {

namespace {

constexpr int kRows = 64, kCodes = 128, kDepth = 32, kThreads = 256;
constexpr int kRowsPer = 4, kCodesPer = 8;  // of a thread; 16 threads along either side
constexpr int kPad = 4;
constexpr unsigned long long kNone = ~0ull;

struct VqCall {
  const float* z;
  const float* codes;  // normalised for cosine
  const float* bias;   // |e|^2, null for cosine
  unsigned long long* best;
  int64_t N;
  int V, C, codesPerBlock;
};

// Ascending with the value; -0 and +0 are one.
__device__ inline unsigned costOrder(float v) {
  const unsigned bits = __float_as_uint(v + 0.0f);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// A warp per code: |e|^2, or e / max(|e|, 1e-12).
__global__ void codeKernel(const float* codes, int V, int C, bool cosine, float* to) {
  const int warp = static_cast<int>((blockIdx.x * blockDim.x + threadIdx.x) / kWarp), lane = static_cast<int>(threadIdx.x) % kWarp;
  if (warp >= V) return;
  const float* e = codes + static_cast<int64_t>(warp) * C;
  float sum = 0;
  for (int i = lane; i < C; i += kWarp) sum = fmaf(e[i], e[i], sum);
  sum = warpSum(sum);
  if (!cosine) {
    if (lane == 0) to[warp] = sum;
    return;
  }
  const float norm = fmaxf(sqrtf(sum), 1e-12f);
  for (int i = lane; i < C; i += kWarp) to[static_cast<int64_t>(warp) * C + i] = e[i] / norm;
}

__global__ void clearKernel(unsigned long long* best, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) best[i] = kNone;
}

// Nothing was below infinity: index 0, as for a vector of NaN.
__global__ void takeKernel(const unsigned long long* best, int32_t* idx, int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n) idx[i] = best[i] == kNone ? 0 : static_cast<int32_t>(best[i] & 0xffffffffu);
}

// kDepth columns of `rows` rows to shared memory, transposed; zeros outside.
template <int kWide>
__device__ inline void loadTile(const float* from, int64_t row, int64_t rows, int k, int C, float (*to)[kWide + kPad]) {
  for (int i = static_cast<int>(threadIdx.x); i < kWide * kDepth; i += kThreads) {
    const int r = i / kDepth, c = i % kDepth;
    to[c][r] = row + r < rows && k + c < C ? from[(row + r) * C + k + c] : 0.0f;
  }
}

__device__ inline void products(const float (*zs)[kRows + kPad], const float (*es)[kCodes + kPad], float (&acc)[kRowsPer][kCodesPer]) {
  const int tr = static_cast<int>(threadIdx.x) / 16 * kRowsPer, tc = static_cast<int>(threadIdx.x) % 16;
#pragma unroll 4
  for (int k = 0; k < kDepth; k++) {
    float a[kRowsPer], b[kCodesPer];
    for (int i = 0; i < kRowsPer; i++) a[i] = zs[k][tr + i];
    for (int j = 0; j < kCodesPer; j++) b[j] = es[k][tc + 16 * j];
#pragma unroll
    for (int i = 0; i < kRowsPer; i++) {
#pragma unroll
      for (int j = 0; j < kCodesPer; j++) acc[i][j] = fmaf(a[i], b[j], acc[i][j]);
    }
  }
}

__global__ void __launch_bounds__(kThreads) nearestKernel(VqCall c) {
  __shared__ float zs[kDepth][kRows + kPad];
  __shared__ float es[kDepth][kCodes + kPad];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kRows;
  const int tr = static_cast<int>(threadIdx.x) / 16 * kRowsPer, tc = static_cast<int>(threadIdx.x) % 16;
  const int first = static_cast<int>(blockIdx.y) * c.codesPerBlock, end = min(first + c.codesPerBlock, c.V);
  unsigned long long best[kRowsPer];
  for (int i = 0; i < kRowsPer; i++) best[i] = kNone;
  for (int v = first; v < end; v += kCodes) {
    float acc[kRowsPer][kCodesPer] = {};
    for (int k = 0; k < c.C; k += kDepth) {
      if (k > 0 || v == first || c.C > kDepth) loadTile<kRows>(c.z, row, c.N, k, c.C, zs);
      loadTile<kCodes>(c.codes, v, end, k, c.C, es);
      __syncthreads();
      products(zs, es, acc);
      __syncthreads();
    }
    for (int j = 0; j < kCodesPer; j++) {
      const int code = v + tc + 16 * j;
      if (code >= end) continue;
      const float bias = c.bias ? c.bias[code] : 0.0f, mul = c.bias ? -2.0f : -1.0f;
      for (int i = 0; i < kRowsPer; i++) {
        const float cost = fmaf(mul, acc[i][j], bias);
        const unsigned long long key = static_cast<unsigned long long>(costOrder(cost)) << 32 | static_cast<unsigned>(code);
        if (cost < INFINITY && key < best[i]) best[i] = key;
      }
    }
  }
  // The 16 threads of a row are one half of a warp.
  for (int i = 0; i < kRowsPer; i++) {
    for (int lane = 8; lane > 0; lane /= 2) {
      const unsigned long long other = __shfl_xor_sync(kAllLanes, best[i], lane);
      if (other < best[i]) best[i] = other;
    }
    if (tc == 0 && row + tr + i < c.N && best[i] != kNone) atomicMin(&c.best[row + tr + i], best[i]);
  }
}

}  // namespace

namespace ops {

Status vq_lookup(const Context& ctx, const NsCall& call, const op::vq_lookup::Params& p) {
  const int64_t N = call.in[0].dims[0], C = call.in[0].dims[1], V = call.in[1].dims[0];
  if (call.in[1].dims[1] != C || V < 1 || V > (1 << 30) || C > (1 << 20)) {
    return failure(NS_INVALID, "[vq_lookup] z is [%lld,%lld], codebook is [%lld,%lld]", (long long)N, (long long)C, (long long)V,
                   (long long)call.in[1].dims[1]);
  }
  if (N == 0) return Status();
  const bool cosine = p.cosine != 0;
  auto* best = ctx.scratch<unsigned long long>(0, static_cast<size_t>(N));
  float* facts = ctx.scratch<float>(1, static_cast<size_t>(cosine ? V * C : V));
  const auto blocks = [](int64_t n, int64_t per) { return dim3(static_cast<unsigned>(divUp(n, per))); };
  Status status = launch(ctx, &codeKernel, {blocks(V * kWarp, 256), dim3(256)}, in<float>(call, 1), V, C, cosine, facts);
  if (status.ok()) status = launch(ctx, &clearKernel, {blocks(N, 256), dim3(256)}, best, N);
  if (!status.ok()) return status;
  // Few vectors: the codes are split, so that two blocks per multiprocessor have work.
  const int64_t tiles = divUp(N, kRows), parts = divUp(V, kCodes);
  const int64_t split = std::max<int64_t>(1, std::min(parts, 2 * ctx.sms / tiles)), per = divUp(parts, split) * kCodes;
  const VqCall c = {in<float>(call, 0),
                    cosine ? facts : in<float>(call, 1),
                    cosine ? nullptr : facts,
                    best,
                    N,
                    static_cast<int>(V),
                    static_cast<int>(C),
                    static_cast<int>(per)};
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(divUp(V, per)));
  status = launch(ctx, &nearestKernel, {grid, dim3(kThreads)}, c);
  if (!status.ok()) return status;
  return launch(ctx, &takeKernel, {blocks(N, 256), dim3(256)}, best, out<int32_t>(call, 0), N);
}

}  // namespace ops
}  // namespace ns::cuda
