// gate_residual, gate_residual_grad.
// Floor: bound by memory: 12 bytes per element forward (8 without residual), 12 backward; x and dy are read once for both gradients.
// Layout: x, dy [B, l, N]; gate [Bg, G, N], row gateAt of it per image. The sums over l run in f64 over blocks of 64 rows, joined in order.
// Reference: y = residual + gate * x with the two roundings of linear's epilogue, and its gradient.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/gate.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// y = residual + gate * x; without residual y = gate * x.
void GateRow(const float* x, const float* gate, const float* residual, float* y, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  if (!residual) return Map2(d, x, gate, y, n, [](V v, V g) { return hn::Mul(v, g); });
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(hn::Add(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, gate + i)), hn::LoadU(d, residual + i)), d, y + i);
  }
  if (hn::MaxLanes(d) == 1 || i == n) return;
  const size_t r = static_cast<size_t>(n - i);
  const V v = hn::Mul(LoadPart(d, x + i, r, 0.0f), LoadPart(d, gate + i, r, 0.0f));
  StorePart(d, hn::Add(v, LoadPart(d, residual + i, r, 0.0f)), y + i, r);
}

// acc[j] += x[j] * dy[j]
void ProductRow(const float* x, const float* dy, double* acc, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + N <= n; j += N) {
    const auto u = hn::PromoteTo(d, hn::LoadU(df, x + j)), v = hn::PromoteTo(d, hn::LoadU(df, dy + j));
    hn::StoreU(hn::MulAdd(u, v, hn::LoadU(d, acc + j)), d, acc + j);  // the product is exact: the same with and without FMA
  }
  for (; j < n; j++) acc[j] += static_cast<double>(x[j]) * static_cast<double>(dy[j]);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(GateRow);
HWY_EXPORT(ProductRow);

namespace {
constexpr int64_t kRows = 64;
constexpr int64_t kGrain = 16384;

struct Gate {
  const float* rows;
  int64_t stride;  // floats between the rows of two images, 0 for one row
  const float* of(int64_t b) const { return rows + b * stride; }
};

Gate gateOf(const NsCall& call, int index, int32_t at) {
  const NsTensor& t = call.in[index];
  return {in<float>(call, index) + at * t.dims[2], t.dims[0] == 1 ? 0 : t.dims[1] * t.dims[2]};
}

// dGate[row] += the partial sums [blocks][N] of its images, in order.
void joinGate(Context& ctx, const double* parts, int64_t blocks, int64_t N, float* dGate, int64_t rows, int64_t stride) {
  ctx.pool.parallelFor(rows * N, kGrain / (blocks + 1) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t row = t / N, j = t - row * N;
      const double* p = parts + row * blocks * N + j;
      double total = 0;
      for (int64_t i = 0; i < blocks; i++) total += p[i * N];
      dGate[row * stride + j] += static_cast<float>(total);
    }
  });
}
}  // namespace

namespace kernels {

Status gate_residual(Context& ctx, const NsCall& call, const op::gate_residual::Params& p) {
  using In = op::gate_residual::in::Index;
  const NsTensor& t = call.in[In::x];
  const int64_t l = t.dims[1], N = t.dims[2];
  const float *x = in<float>(call, In::x), *residual = input(call, In::residual) ? in<float>(call, In::residual) : nullptr;
  float* y = out<float>(call, 0);
  const Gate gate = gateOf(call, In::gate, p.gateAt);
  const auto row = HWY_DYNAMIC_DISPATCH(GateRow);
  ctx.pool.parallelFor(t.dims[0] * l, kGrain / (N + 1) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; r++) row(x + r * N, gate.of(r / l), residual ? residual + r * N : nullptr, y + r * N, N);
  });
  return {};
}

Status gate_residual_grad(Context& ctx, const NsCall& call, const op::gate_residual_grad::Params& p) {
  using In = op::gate_residual_grad::in::Index;
  const NsTensor& t = call.in[In::x];
  const int64_t B = t.dims[0], l = t.dims[1], N = t.dims[2], blocks = (l + kRows - 1) / kRows;
  const float *x = in<float>(call, In::x), *dy = in<float>(call, In::dy);
  float* dx = out<float>(call, 0);
  const Gate gate = gateOf(call, In::gate, p.gateAt);
  const bool sum = input(call, In::dGate) != nullptr;
  const size_t size = sum ? static_cast<size_t>(B * blocks * N) * sizeof(double) : 0;
  double* parts = sum ? static_cast<double*>(ctx.shared.bytes(0, size)) : nullptr;
  const auto row = HWY_DYNAMIC_DISPATCH(GateRow);
  const auto product = HWY_DYNAMIC_DISPATCH(ProductRow);
  ctx.pool.parallelFor(B * blocks, kGrain / ((l < kRows ? l : kRows) * N + 1) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t u = begin; u < end; u++) {
      const int64_t b = u / blocks, from = (u - b * blocks) * kRows, to = from + kRows < l ? from + kRows : l;
      double* acc = sum ? parts + u * N : nullptr;
      if (sum) std::memset(acc, 0, static_cast<size_t>(N) * sizeof(double));
      for (int64_t i = from; i < to; i++) {
        const int64_t at = (b * l + i) * N;
        row(dy + at, gate.of(b), nullptr, dx + at, N);
        if (sum) product(x + at, dy + at, acc, N);
      }
    }
  });
  if (!sum) return {};
  const NsTensor& g = call.in[In::dGate];
  float* dGate = mut<float>(call, In::dGate) + p.gateAt * N;
  joinGate(ctx, parts, gate.stride ? blocks : B * blocks, N, dGate, g.dims[0], g.dims[1] * N);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
