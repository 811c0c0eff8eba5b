// linear: y = residual + gate * act(x W^T + bias), everything after the product fused into the store of a tile.
// Floor: max(weight bytes / DRAM bandwidth, 2 B l K N / peak of the tensor cores). Layout: x [B,l,K], w rows [N16,K] (linear_pack.cu), y
// [B,l,n]. f32 activations with 16-bit weights are exact products in f32 (or tf32 where allowed): the weight is widened while it is loaded.
#include "cuda/kernels/gemm.h"
#include "cuda/libraries/blas.h"

namespace ns::cuda {
namespace {

bool floats(const NsTensor& t) { return dtype(t) == DType::f32 || dtype(t) == DType::f16 || dtype(t) == DType::bf16; }

Status setGate(const NsCall& call, const op::linear::Params& p, Epilogue& e) {
  using In = op::linear::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor* gate = input(call, In::gate);
  if (!gate) return Status();
  if (gate->ndim != 3 || gate->dims[2] != p.n || p.gateAt < 0 || p.gateAt >= gate->dims[1] ||
      (gate->dims[0] != 1 && gate->dims[0] != x.dims[0])) {
    return failure(NS_INVALID, "[linear] gate [%lld, %lld, %lld] row %d does not fit batch %lld and n = %d",
                   static_cast<long long>(gate->dims[0]), static_cast<long long>(gate->dims[1]), static_cast<long long>(gate->dims[2]),
                   p.gateAt, static_cast<long long>(x.dims[0]), p.n);
  }
  e.gate = static_cast<const float*>(gate->data) + p.gateAt * gate->dims[2];
  e.gateStride = gate->dims[0] == 1 ? 0 : gate->dims[1] * gate->dims[2];
  e.gateRows = static_cast<int>(x.dims[1] > 0 ? x.dims[1] : 1);
  return Status();
}

}  // namespace

namespace ops {

Status linear(const Context& ctx, const NsCall& call, const op::linear::Params& p) {
  using In = op::linear::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& w = call.in[In::w];
  if (x.ndim != 3 || w.ndim != 3 || w.dims[2] != 16 || w.dims[1] != x.dims[2] || w.dims[0] != (p.n + 15) / 16) {
    return failure(NS_INVALID, "[linear] x [.., %lld] does not fit w [%lld, %lld, %lld] with n = %d", static_cast<long long>(x.dims[2]),
                   static_cast<long long>(w.dims[0]), static_cast<long long>(w.dims[1]), static_cast<long long>(w.dims[2]), p.n);
  }
  const NsTensor* residual = input(call, In::residual);
  if (!floats(x) || !floats(w) || (residual && !floats(*residual)) || !floats(call.out[0])) {
    return failure(NS_UNSUPPORTED, "[linear] x is %s, w is %s, accepted: f32, f16, bf16", dtypeName(dtype(x)), dtypeName(dtype(w)));
  }
  gemm::Gemm g;
  g.m = x.dims[0] * x.dims[1];
  g.n = p.n;
  g.k = x.dims[2];
  g.a = {x.data, g.k, 0, dtype(x)};
  g.b = {w.data, g.k, 0, dtype(w)};
  g.tf32 = ctx.tf32;
  Epilogue& e = g.epilogue;
  e.y = call.out[0].data;
  e.yType = dtype(call.out[0]);
  e.pitch = p.n;
  e.bias = in<float>(call, In::bias);
  e.act = p.act == op::linear::Act::gelu ? Activation::gelu : p.act == op::linear::Act::silu ? Activation::silu : Activation::none;
  if (residual) {
    e.residual = residual->data;
    e.residualType = dtype(*residual);
  }
  const Status s = setGate(call, p, e);
  if (!s.ok()) return s;
  e.pack();
  return blas::enqueue(ctx, g);
}

}  // namespace ops
}  // namespace ns::cuda
