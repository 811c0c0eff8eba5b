// matmul: batched y = alpha * a b, or a b^T; b is packed into panels on the fly, then the packed GEMM runs.
// Floor: 2 B M K N FLOP at the FMA peak plus one pass over b. Layout: a [B,M,K], b [B,K,N] or [B,N,K], y [B,M,N].
// Many batches: one batch per chunk; few: the threads share each product. The values are the same.
#include <algorithm>
#include <cstring>

#include "native/cpu/gemm.h"

namespace ns::cpu {
namespace {

// Panels [begin, end) of one batch's b, zero-padded to 16 columns.
void packPanels(const float* b, int64_t k, int64_t n, bool trans, int64_t begin, int64_t end, float* packed) {
  for (int64_t p = begin; p < end; p++) {
    const int64_t n0 = p * kPanel, cols = std::min(kPanel, n - n0);
    float* to = packed + p * k * kPanel;
    if (cols < kPanel) std::memset(to, 0, static_cast<size_t>(k * kPanel) * sizeof(float));
    if (!trans) {
      for (int64_t i = 0; i < k; i++) std::memcpy(to + i * kPanel, b + i * n + n0, static_cast<size_t>(cols) * sizeof(float));
      continue;
    }
    // Blocks of k keep the sixteen source rows and the target in L1.
    for (int64_t k0 = 0; k0 < k; k0 += 64) {
      const int64_t k1 = std::min(k, k0 + 64);
      for (int64_t j = 0; j < cols; j++) {
        const float* from = b + (n0 + j) * k;
        for (int64_t i = k0; i < k1; i++) to[i * kPanel + j] = from[i];
      }
    }
  }
}

}  // namespace

namespace kernels {

Status matmul(Context& ctx, const NsCall& call, const op::matmul::Params& p) {
  const NsTensor& a = call.in[0];
  const NsTensor& b = call.in[1];
  const bool trans = p.transB != 0;
  if (a.ndim != 3 || b.ndim != 3 || a.dims[0] != b.dims[0] || a.dims[2] != b.dims[trans ? 2 : 1]) {
    return failure(NS_INVALID, "[matmul] a [%lld, %lld, %lld] does not fit b [%lld, %lld, %lld]%s", static_cast<long long>(a.dims[0]),
                   static_cast<long long>(a.dims[1]), static_cast<long long>(a.dims[2]), static_cast<long long>(b.dims[0]),
                   static_cast<long long>(b.dims[1]), static_cast<long long>(b.dims[2]), trans ? " transposed" : "");
  }
  const int64_t batch = a.dims[0], n = b.dims[trans ? 1 : 2];
  Gemm g;
  g.m = a.dims[1];
  g.n = n;
  g.k = a.dims[2];
  g.lda = g.k;
  g.ldc = n;
  g.epilogue.alpha = p.alpha;
  if (batch == 0 || g.m == 0 || n == 0) return Status();
  const int64_t panels = ceilDiv(n, kPanel), weights = panels * g.k * kPanel;
  const float* pa = in<float>(call, 0);
  const float* pb = in<float>(call, 1);
  float* y = out<float>(call, 0);
  const auto at = [&](int64_t i) {
    Gemm one = g;
    one.a = pa + i * g.m * g.k;
    one.c = y + i * g.m * n;
    return one;
  };
  const int threads = ctx.pool.threads();
  if (batch >= 2 * threads && g.m * g.k * n < int64_t{1} << 24) {
    const size_t own = static_cast<size_t>(gemmScratch(g.m, g.k)), packedFloats = static_cast<size_t>(weights);
    for (int t = 0; t < threads; t++) {
      ctx.perThread[t].floats(0, own);
      ctx.perThread[t].floats(1, packedFloats);
    }
    ctx.pool.parallelFor(batch, 1, [&](int64_t begin, int64_t end, int thread) {
      float* scratch = ctx.perThread[thread].floats(0, own);
      float* packed = ctx.perThread[thread].floats(1, packedFloats);
      for (int64_t i = begin; i < end; i++) {
        packPanels(pb + i * g.k * n, g.k, n, trans, 0, panels, packed);
        Gemm one = at(i);
        one.w = packed;
        gemmSerial(one, scratch);
      }
    });
    return Status();
  }
  float* packed = ctx.shared.floats(1, static_cast<size_t>(weights));
  for (int64_t i = 0; i < batch; i++) {
    ctx.pool.parallelFor(panels, std::max<int64_t>(1, 4096 / std::max<int64_t>(1, g.k)),
                         [&](int64_t begin, int64_t end, int) { packPanels(pb + i * g.k * n, g.k, n, trans, begin, end, packed); });
    Gemm one = at(i);
    one.w = packed;
    gemm(ctx, one);
  }
  return Status();
}

}  // namespace kernels
}  // namespace ns::cpu
