// softmax over the last dim of x * scale.
// Floor: memory, 8 bytes per element; about 1 ns per element and core for the exponential when the row is in cache.
// Layout: rows of V contiguous values. Reference: torch.softmax.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/softmax.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>

#include "native/cpu/context.h"
#include "native/cpu/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

void SoftmaxRows(const float* x, float* y, int64_t rows, int64_t n, float scale) {
  for (int64_t r = 0; r < rows; r++) SoftmaxRow(x + r * n, y + r * n, n, scale);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(SoftmaxRows);

namespace kernels {

Status softmax(Context& ctx, const NsCall& call, const op::softmax::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t n = t.ndim ? t.dims[t.ndim - 1] : 1, total = count(t);
  if (total == 0) return {};
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const auto rows = HWY_DYNAMIC_DISPATCH(SoftmaxRows);
  ctx.pool.parallelFor(total / n, std::max<int64_t>(1, 8192 / n),
                       [&](int64_t b, int64_t e, int) { rows(x + b * n, y + b * n, e - b, n, p.scale); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
