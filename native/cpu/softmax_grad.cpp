// softmax_grad from the output, l2_normalize_grad at the input: rows whose gradient needs one inner product.
// Floor: memory, 12 bytes per element; a row is read a second time from cache.
// Layout: rows of contiguous values. Reference: autograd of torch.softmax and torch.nn.functional.normalize.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/softmax_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <cmath>

#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using RowD = hn::ScalableTag<float>;
using RowV = hn::Vec<RowD>;

// Sum of a[i] * b[i]; lanes behind the end count as zero.
HWY_INLINE float RowDot(const float* a, const float* b, int64_t n) {
  const RowD d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  RowV s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    s0 = hn::MulAdd(hn::LoadU(d, a + i), hn::LoadU(d, b + i), s0);
    s1 = hn::MulAdd(hn::LoadU(d, a + i + N), hn::LoadU(d, b + i + N), s1);
  }
  for (; i < n; i += N) {
    const size_t r = static_cast<size_t>(std::min(N, n - i));
    s0 = hn::MulAdd(LoadPart(d, a + i, r, 0.0f), LoadPart(d, b + i, r, 0.0f), s0);
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

void SoftmaxGradRows(const float* y, const float* dy, int64_t rows, int64_t n, float scale, float* dx) {
  const RowD d;
  const RowV mul = hn::Set(d, scale);
  for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
    const RowV mean = hn::Set(d, RowDot(y, dy, n));
    Map2(d, y, dy, dx, n, [&](RowV p, RowV g) { return hn::Mul(hn::Mul(mul, p), hn::Sub(g, mean)); });
  }
}

// dx = (dy - u (u . dy)) / |x| with u = x / |x|; dy / eps where |x| <= eps.
void L2NormalizeGradRows(const float* x, const float* dy, int64_t rows, int64_t n, float eps, float* dx) {
  const RowD d;
  for (int64_t r = 0; r < rows; r++, x += n, dy += n, dx += n) {
    const float length = std::sqrt(RowDot(x, x, n));
    const RowV norm = hn::Set(d, std::max(length, eps));
    if (length <= eps) {
      Map(d, dy, dx, n, [&](RowV g) { return hn::Div(g, norm); });
      continue;
    }
    const RowV along = hn::Set(d, RowDot(x, dy, n) / length);
    Map2(d, x, dy, dx, n, [&](RowV v, RowV g) { return hn::Div(hn::NegMulAdd(hn::Div(v, norm), along, g), norm); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(SoftmaxGradRows);
HWY_EXPORT(L2NormalizeGradRows);

namespace {

using RowsGrad = void (*)(const float*, const float*, int64_t, int64_t, float, float*);

Status eachRow(Context& ctx, const NsCall& call, RowsGrad rows, float parameter) {
  const NsTensor& t = call.in[0];
  const int64_t n = t.ndim ? t.dims[t.ndim - 1] : 1, total = count(t);
  if (total == 0) return {};
  const float *a = in<float>(call, 0), *dy = in<float>(call, 1);
  float* dx = out<float>(call, 0);
  ctx.pool.parallelFor(total / n, std::max<int64_t>(1, 16384 / n),
                       [&](int64_t b, int64_t e, int) { rows(a + b * n, dy + b * n, e - b, n, parameter, dx + b * n); });
  return {};
}

}  // namespace

namespace kernels {

Status softmax_grad(Context& ctx, const NsCall& call, const op::softmax_grad::Params& p) {
  return eachRow(ctx, call, HWY_DYNAMIC_DISPATCH(SoftmaxGradRows), p.scale);
}

Status l2_normalize_grad(Context& ctx, const NsCall& call, const op::l2_normalize_grad::Params& p) {
  return eachRow(ctx, call, HWY_DYNAMIC_DISPATCH(L2NormalizeGradRows), p.eps);
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
