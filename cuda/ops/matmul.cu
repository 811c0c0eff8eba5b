// matmul: batched y = alpha * a b, or a b^T; both layouts of b are read as they lie.
// Floor: max(2 B M K N FLOP, one pass over a, b and y). Layout: a [B,M,K], b [B,K,N] or [B,N,K], y [B,M,N].
#include "cuda/kernels/gemm.h"
#include "cuda/libraries/blas.h"

namespace ns::cuda::ops {

Status matmul(const Context& ctx, const NsCall& call, const op::matmul::Params& p) {
  const NsTensor& a = call.in[op::matmul::in::a];
  const NsTensor& b = call.in[op::matmul::in::b];
  const bool trans = p.transB != 0;
  if (a.ndim != 3 || b.ndim != 3 || a.dims[0] != b.dims[0] || a.dims[2] != b.dims[trans ? 2 : 1]) {
    return failure(NS_INVALID, "[matmul] a [%lld, %lld, %lld] does not fit b [%lld, %lld, %lld]%s", static_cast<long long>(a.dims[0]),
                   static_cast<long long>(a.dims[1]), static_cast<long long>(a.dims[2]), static_cast<long long>(b.dims[0]),
                   static_cast<long long>(b.dims[1]), static_cast<long long>(b.dims[2]), trans ? " transposed" : "");
  }
  const DType type = dtype(a);
  if ((type != DType::f32 && type != DType::f16 && type != DType::bf16) || dtype(b) != type) {
    return failure(NS_UNSUPPORTED, "[matmul] a is %s, b is %s, accepted: both f32, f16 or bf16", dtypeName(type), dtypeName(dtype(b)));
  }
  gemm::Gemm g;
  g.batch = a.dims[0];
  g.m = a.dims[1];
  g.k = a.dims[2];
  g.n = b.dims[trans ? 1 : 2];
  g.alongB = trans;
  g.a = {a.data, g.k, g.m * g.k, type};
  g.b = {b.data, trans ? g.k : g.n, g.n * g.k, type};
  g.tf32 = ctx.tf32;
  g.epilogue.y = call.out[0].data;
  g.epilogue.yType = dtype(call.out[0]);
  g.epilogue.pitch = g.n;
  g.epilogue.batch = g.m * g.n;
  g.epilogue.alpha = p.alpha;
  g.epilogue.pack();
  return blas::enqueue(ctx, g);
}

}  // namespace ns::cuda::ops
