// linear_grad_w: dw += alpha dy^T x, dbias += alpha * column sums of dy.
// Floor: 2 B l K N FLOP at the tensor cores; for few rows, reading and writing dw once. Layout: x [B,l,K], dy [B,l,N], dw [N,K].
// The product runs over the rows of both operands as they lie; few tiles: the rows are split and the parts summed in order.
#include "cuda/kernels/column_sums.h"
#include "cuda/kernels/gemm.h"
#include "cuda/libraries/blas.h"

namespace ns::cuda::ops {

Status linear_grad_w(const Context& ctx, const NsCall& call, const op::linear_grad_w::Params& p) {
  using In = op::linear_grad_w::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& dy = call.in[In::dy];
  const NsTensor& dw = call.in[In::dw];
  if (x.ndim != 3 || dy.ndim != 3 || x.dims[0] != dy.dims[0] || x.dims[1] != dy.dims[1] || dw.ndim != 2 || dw.dims[0] != dy.dims[2] ||
      dw.dims[1] != x.dims[2]) {
    return failure(NS_INVALID, "[linear_grad_w] x [%lld, %lld, %lld] and dy [%lld, %lld, %lld] do not fit dw [%lld, %lld]",
                   static_cast<long long>(x.dims[0]), static_cast<long long>(x.dims[1]), static_cast<long long>(x.dims[2]),
                   static_cast<long long>(dy.dims[0]), static_cast<long long>(dy.dims[1]), static_cast<long long>(dy.dims[2]),
                   static_cast<long long>(dw.dims[0]), static_cast<long long>(dw.dims[1]));
  }
  const auto floats = [](const NsTensor& t) { return dtype(t) == DType::f32 || dtype(t) == DType::f16 || dtype(t) == DType::bf16; };
  if (!floats(x) || !floats(dy)) {
    return failure(NS_UNSUPPORTED, "[linear_grad_w] x is %s, dy is %s, accepted: f32, f16, bf16", dtypeName(dtype(x)),
                   dtypeName(dtype(dy)));
  }
  gemm::Gemm g;
  g.m = dy.dims[2];
  g.n = x.dims[2];
  g.k = x.dims[0] * x.dims[1];
  g.alongA = g.alongB = false;
  g.a = {dy.data, g.m, 0, dtype(dy)};
  g.b = {x.data, g.n, 0, dtype(x)};
  g.tf32 = ctx.tf32;
  g.epilogue.y = dw.data;
  g.epilogue.residual = dw.data;
  g.epilogue.pitch = g.n;
  g.epilogue.alpha = p.alpha;
  g.epilogue.pack();
  const Status s = blas::enqueue(ctx, g);
  if (!s.ok()) return s;
  float* dbias = mut<float>(call, In::dbias);
  return dbias ? addColumnSums(ctx, dy.data, dtype(dy), g.k, g.m, p.alpha, dbias) : Status();
}

}  // namespace ns::cuda::ops
