// embedding_grad, scatter_rows, bincount: rows and counts by index.
// Floor: bound by memory: every row of dy read once, every row that is hit read and written once.
// Layout: tables [V, C], rows [..., C], f32. embedding_grad sorts the positions by index (counting sort, stable), so that each table row
// collects its own rows in the order of idx: no locks, and the bits of the plain loop for any number of threads.
// Reference: the gradient of torch.nn.functional.embedding, index_copy_ and bincount. Indices are all checked before the first write.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/embedding_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/indices.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// y[j] += x[j]
void AddRow(const float* x, float* y, int64_t n) {
  const hn::ScalableTag<float> d;
  using V = hn::Vec<decltype(d)>;
  Map2(d, y, x, y, n, [](V u, V v) { return hn::Add(u, v); });
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(AddRow);

namespace {
constexpr int64_t kColumns = 256;
constexpr int64_t kGrain = 16384;

// order[start[v]] to order[start[v + 1] - 1]: the positions of v in idx, ascending.
void sortPositions(const int32_t* idx, int64_t n, int64_t V, int64_t* start, int64_t* order) {
  std::memset(start, 0, static_cast<size_t>(V + 2) * sizeof(int64_t));
  for (int64_t i = 0; i < n; i++) start[idx[i] + 2]++;
  for (int64_t v = 2; v <= V; v++) start[v] += start[v - 1];
  for (int64_t i = 0; i < n; i++) order[start[idx[i] + 1]++] = i;
}
}  // namespace

namespace kernels {

Status embedding_grad(Context& ctx, const NsCall& call, const op::embedding_grad::Params&) {
  using In = op::embedding_grad::in::Index;
  const int64_t n = count(call.in[In::idx]), V = call.in[In::dTable].dims[0], C = call.in[In::dTable].dims[1];
  const int32_t* idx = in<int32_t>(call, In::idx);
  const float* dy = in<float>(call, In::dy);
  float* table = mut<float>(call, In::dTable);
  if (Status s = checkIndices("embedding_grad", "idx", idx, n, V); !s.ok() || n * C == 0) return s;
  int64_t* start = static_cast<int64_t*>(ctx.shared.bytes(0, static_cast<size_t>(V + 2 + n) * sizeof(int64_t)));
  int64_t* order = start + V + 2;
  sortPositions(idx, n, V, start, order);
  const auto add = HWY_DYNAMIC_DISPATCH(AddRow);
  const int64_t width = C < kColumns ? C : kColumns, blocks = (C + width - 1) / width;
  ctx.pool.parallelFor(V * blocks, kGrain * V / (n * width) + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t v = t / blocks, at = (t - v * blocks) * width, m = C - at < width ? C - at : width;
      for (int64_t i = start[v]; i < start[v + 1]; i++) add(dy + order[i] * C + at, table + v * C + at, m);
    }
  });
  return {};
}

Status scatter_rows(Context& ctx, const NsCall& call, const op::scatter_rows::Params&) {
  using In = op::scatter_rows::in::Index;
  const int64_t n = count(call.in[In::idx]), V = call.in[In::dst].dims[0], C = call.in[In::dst].dims[1];
  const int32_t* idx = in<int32_t>(call, In::idx);
  const float* src = in<float>(call, In::src);
  float* dst = mut<float>(call, In::dst);
  if (Status s = checkIndices("scatter_rows", "idx", idx, n, V); !s.ok() || n == 0) return s;
  // A thread copies its columns of all rows, one after the other: the last of equal indices stays.
  const int64_t grain = kGrain / n + 16;
  ctx.pool.parallelFor(C, grain, [&](int64_t b, int64_t e, int) {
    for (int64_t i = 0; i < n; i++) std::memcpy(dst + idx[i] * C + b, src + i * C + b, static_cast<size_t>(e - b) * sizeof(float));
  });
  return {};
}

Status bincount(Context& ctx, const NsCall& call, const op::bincount::Params& p) {
  const int64_t n = count(call.in[0]);
  const int32_t* idx = in<int32_t>(call, 0);
  float* y = out<float>(call, 0);
  if (Status s = checkIndices("bincount", "idx", idx, n, p.n); !s.ok()) return s;
  int64_t* counts = static_cast<int64_t*>(ctx.shared.bytes(0, static_cast<size_t>(p.n) * sizeof(int64_t)));
  std::memset(counts, 0, static_cast<size_t>(p.n) * sizeof(int64_t));
  for (int64_t i = 0; i < n; i++) counts[idx[i]]++;
  for (int64_t v = 0; v < p.n; v++) y[v] = static_cast<float>(counts[v]);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
