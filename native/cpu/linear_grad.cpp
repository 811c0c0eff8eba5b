// linear_grad_w: dw += alpha dy^T x, dbias += alpha * column sums of dy.
// Floor: 2 B l K N FLOP at the FMA peak; for few rows, reading and writing dw once. Layout: x [B,l,K], dy [B,l,N], dw [N,K].
// Order of summation: gemm_tn.h.
#include <algorithm>

#include "native/cpu/gemm_tn.h"

namespace ns::cpu {
namespace {

struct Rows {
  const float* x;
  int64_t k, panelFloats;
};

void packRows(const void* source, int64_t m0, int64_t rows, int64_t p0, int64_t p1, float* dst, Segments& s) {
  const Rows& x = *static_cast<const Rows*>(source);
  s.count = 1;
  s.length = rows;
  s.start[0] = 0;
  tnCopyPanels(x.x + m0 * x.k + p0 * kPanel, x.k, rows, std::min(p1 * kPanel, x.k) - p0 * kPanel, dst, x.panelFloats);
}

}  // namespace

void linearGradW(Context& ctx, const float* x, const float* dy, int64_t rows, int64_t k, int64_t n, float alpha, float* dw) {
  if (rows <= 0 || k <= 0 || n <= 0) return;
  static const int64_t kOneTap[1] = {0};
  TnProduct p;
  p.rows = rows;
  p.n = n;
  p.dy = dy;
  p.panels = ceilDiv(k, kPanel);
  p.tapAt = kOneTap;
  const int64_t blocks = ceilDiv(rows, tnBlockRows(n));
  p.block = ceilDiv(rows, blocks);
  p.chunk = ceilDiv(p.blocks(), std::min(tnChunks(rows, n, p.panels), p.blocks()));
  p.panelFloats = (p.block | 1) * kPanel;
  const Rows source{x, k, p.panelFloats};
  p.pack = packRows;
  p.source = &source;
  p.alpha = alpha;
  p.cols = k;
  if (p.chunks() == 1) p.dw = dw;
  const float* sums = gemmTn(ctx, p);
  if (!sums) return;
  ctx.pool.parallelFor(n, 8192 / k + 1, [&](int64_t begin, int64_t end, int) {
    alignas(64) float line[256];
    for (int64_t i = begin; i < end; i++) {
      for (int64_t j0 = 0; j0 < k; j0 += 256) {
        const int64_t count = std::min<int64_t>(256, k - j0);
        tnSum(p, sums, i, j0, count, line);
        for (int64_t j = 0; j < count; j++) dw[i * k + j0 + j] += alpha * line[j];
      }
    }
  });
}

namespace kernels {

Status linear_grad_w(Context& ctx, const NsCall& call, const op::linear_grad_w::Params& p) {
  using In = op::linear_grad_w::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& dy = call.in[In::dy];
  const NsTensor& dw = call.in[In::dw];
  if (x.ndim != 3 || dy.ndim != 3 || dw.ndim != 2 || x.dims[0] != dy.dims[0] || x.dims[1] != dy.dims[1] || dw.dims[0] != dy.dims[2] ||
      dw.dims[1] != x.dims[2]) {
    return failure(NS_INVALID, "[linear_grad_w] x [.., %lld], dy [.., %lld] and dw [%lld, %lld] do not fit",
                   static_cast<long long>(x.dims[2]), static_cast<long long>(dy.dims[2]), static_cast<long long>(dw.dims[0]),
                   static_cast<long long>(dw.dims[1]));
  }
  const int64_t rows = x.dims[0] * x.dims[1], k = x.dims[2], n = dy.dims[2];
  linearGradW(ctx, in<float>(call, In::x), in<float>(call, In::dy), rows, k, n, p.alpha, mut<float>(call, In::dw));
  if (input(call, In::dbias)) columnSums(ctx, in<float>(call, In::dy), rows, n, p.alpha, mut<float>(call, In::dbias));
  return Status();
}

}  // namespace kernels
}  // namespace ns::cpu
