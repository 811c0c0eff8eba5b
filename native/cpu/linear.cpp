// linear: y = residual + gate * act(x W^T + bias), everything after the product fused into the tile store.
// Floor: max(weight bytes / DRAM bandwidth, 2 B l K N / FMA peak). Layout: x [B,l,K], w panels [P,K,16], y [B,l,n].
#include "native/cpu/gemm.h"

namespace ns::cpu::kernels {

Status linear(Context& ctx, const NsCall& call, const op::linear::Params& p) {
  using In = op::linear::in::Index;
  const NsTensor& x = call.in[In::x];
  const NsTensor& w = call.in[In::w];
  if (x.ndim != 3 || w.ndim != 3 || w.dims[2] != kPanel || w.dims[1] != x.dims[2] + (dtype(w) == DType::u8 ? kScaleLines : 0) ||
      w.dims[0] != ceilDiv(p.n, kPanel)) {
    return failure(NS_INVALID, "[linear] x [.., %lld] does not fit w [%lld, %lld, %lld] with n = %d", static_cast<long long>(x.dims[2]),
                   static_cast<long long>(w.dims[0]), static_cast<long long>(w.dims[1]), static_cast<long long>(w.dims[2]), p.n);
  }
  Gemm g;
  g.m = x.dims[0] * x.dims[1];
  g.n = p.n;
  g.k = x.dims[2];
  g.a = static_cast<const float*>(x.data);
  g.lda = g.k;
  g.w = w.data;
  g.dtype = dtype(w);
  g.c = out<float>(call, 0);
  g.ldc = p.n;
  Epilogue& e = g.epilogue;
  if (g.dtype == DType::u8) e.scale = reinterpret_cast<const float*>(static_cast<const char*>(w.data) + w.dims[0] * g.k * kPanel);
  if (const NsTensor* bias = input(call, In::bias)) e.bias = static_cast<const float*>(bias->data);
  if (const NsTensor* residual = input(call, In::residual)) e.residual = static_cast<const float*>(residual->data);
  if (const NsTensor* gate = input(call, In::gate)) {
    if (gate->ndim != 3 || gate->dims[2] != p.n || p.gateAt < 0 || p.gateAt >= gate->dims[1] ||
        (gate->dims[0] != 1 && gate->dims[0] != x.dims[0])) {
      return failure(NS_INVALID, "[linear] gate [%lld, %lld, %lld] row %d does not fit batch %lld and n = %d",
                     static_cast<long long>(gate->dims[0]), static_cast<long long>(gate->dims[1]), static_cast<long long>(gate->dims[2]),
                     p.gateAt, static_cast<long long>(x.dims[0]), p.n);
    }
    e.gate = static_cast<const float*>(gate->data) + p.gateAt * gate->dims[2];
    e.gateStride = gate->dims[0] == 1 ? 0 : gate->dims[1] * gate->dims[2];
    e.rowsPerGate = x.dims[1];
  }
  e.act = p.act == op::linear::Act::gelu ? Activation::gelu : p.act == op::linear::Act::silu ? Activation::silu : Activation::none;
  gemm(ctx, g);
  return Status();
}

}  // namespace ns::cpu::kernels
