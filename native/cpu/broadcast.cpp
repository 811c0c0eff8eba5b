// broadcast_to and its gradient sum_to.
// Floor: bound by memory, the larger tensor written or read once.
// Layout: row-major. Neighbouring dims that are all repeated (or all kept) are merged; what is left is walked as runs of the innermost one.
// sum_to adds in f64, over segments of about 65536 values whose results are joined in order. The cut depends on the shapes alone, so a
// value is the same for any number of threads.
// Reference: torch.Tensor.expand and torch.Tensor.sum_to_size.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/broadcast.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/abi/plan.h"
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sum of n contiguous values in four vectors of f64, joined in a fixed order.
double SumToRun(const float* x, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto get = [&](int64_t i) { return hn::PromoteTo(d, hn::LoadU(df, x + i)); };
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    s0 = hn::Add(s0, get(i));
    s1 = hn::Add(s1, get(i + N));
    s2 = hn::Add(s2, get(i + 2 * N));
    s3 = hn::Add(s3, get(i + 3 * N));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, get(i));
  if (hn::MaxLanes(d) > 1 && i < n) s0 = hn::Add(s0, hn::PromoteTo(d, LoadPart(df, x + i, static_cast<size_t>(n - i), 0.0f)));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

// acc[j] += rows[0][j] + rows[1][j] + ..., one after the other.
void SumToColumns(const float* const* rows, int count, double* acc, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + N <= n; j += N) {
    auto s = hn::LoadU(d, acc + j);
    for (int r = 0; r < count; r++) s = hn::Add(s, hn::PromoteTo(d, hn::LoadU(df, rows[r] + j)));
    hn::StoreU(s, d, acc + j);
  }
  for (; j < n; j++) {
    for (int r = 0; r < count; r++) acc[j] += static_cast<double>(rows[r][j]);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(SumToRun);
HWY_EXPORT(SumToColumns);

namespace {
constexpr int64_t kSegment = 65536;  // values of one partial sum, about
constexpr int64_t kColumns = 128;
constexpr int kRows = 8;

// Sums `pieces` runs of the repeated dims, from the one at `from` on, into acc[width].
void addColumns(const plan::Kept& s, const float* x, int64_t from, int64_t pieces, double* acc, int64_t width) {
  const float* rows[kRows];
  for (int64_t i = 0; i < pieces; i += kRows) {
    const int m = static_cast<int>(pieces - i < kRows ? pieces - i : kRows);
    for (int r = 0; r < m; r++) rows[r] = x + s.repeated.offset(from + i + r);
    HWY_DYNAMIC_DISPATCH(SumToColumns)(rows, m, acc, width);
  }
}

// Adds the partial sums [segments][outputs] up in order.
void join(Context& ctx, const double* parts, int64_t segments, int64_t outputs, float* y) {
  ctx.pool.parallelFor(outputs, kSegment / (segments + 1) + 1, [&](int64_t b, int64_t e, int) {
    for (int64_t i = b; i < e; i++) {
      double total = 0;
      for (int64_t g = 0; g < segments; g++) total += parts[g * outputs + i];
      y[i] = static_cast<float>(total);
    }
  });
}

// The innermost run is kept: columns go down the repeated dims together.
void sumColumns(Context& ctx, const plan::Kept& s, const float* x, float* y) {
  const int64_t width = s.n < kColumns ? s.n : kColumns, blocks = (s.n + width - 1) / width, outputs = s.kept.total * s.n;
  const int64_t pieces = kSegment / width, segments = (s.repeated.total + pieces - 1) / pieces;
  double* parts = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(segments * outputs) * sizeof(double)));
  const int64_t grain = 16384 / (width * (s.repeated.total < pieces ? s.repeated.total : pieces)) + 1;
  ctx.pool.parallelFor(s.kept.total * blocks * segments, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t group = t / segments, segment = t - group * segments, k = group / blocks, column = (group - k * blocks) * width;
      const int64_t from = segment * pieces, rest = s.repeated.total - from, m = s.n - column < width ? s.n - column : width;
      double* acc = parts + segment * outputs + k * s.n + column;
      for (int64_t j = 0; j < m; j++) acc[j] = 0;
      addColumns(s, x + s.kept.offset(k) + column, from, rest < pieces ? rest : pieces, acc, m);
    }
  });
  join(ctx, parts, segments, outputs, y);
}

// The innermost run is summed: a long one in segments, short ones several to a segment.
void sumRuns(Context& ctx, const plan::Kept& s, const float* x, float* y) {
  const int64_t cuts = (s.n + kSegment - 1) / kSegment, runs = kSegment / s.n < 1 ? 1 : kSegment / s.n;
  const int64_t segments = cuts * ((s.repeated.total + runs - 1) / runs), outputs = s.kept.total;
  double* parts = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(segments * outputs) * sizeof(double)));
  const int64_t grain = 16384 / (s.n * (s.repeated.total < runs ? s.repeated.total : runs)) + 1;
  ctx.pool.parallelFor(outputs * segments, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t k = t / segments, segment = t - k * segments, group = segment / cuts, at = (segment - group * cuts) * kSegment;
      const int64_t from = group * runs, to = from + runs < s.repeated.total ? from + runs : s.repeated.total;
      const int64_t n = s.n - at < kSegment ? s.n - at : kSegment;
      const float* p = x + s.kept.offset(k) + at;
      double total = 0;
      for (int64_t i = from; i < to; i++) total += HWY_DYNAMIC_DISPATCH(SumToRun)(p + s.repeated.offset(i), n);
      parts[segment * outputs + k] = total;
    }
  });
  join(ctx, parts, segments, outputs, y);
}
}  // namespace

namespace kernels {

Status sum_to(Context& ctx, const NsCall& call, const op::sum_to::Params&) {
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  if (count(call.out[0]) == 0) return {};
  if (count(call.in[0]) == 0) {
    std::memset(y, 0, static_cast<size_t>(count(call.out[0])) * sizeof(float));
    return {};
  }
  const plan::Kept s = plan::keptOf(call.in[0], call.out[0]);
  if (s.kept.total * (s.inner ? s.n : 1) == count(call.in[0])) {
    std::memcpy(y, x, static_cast<size_t>(count(call.in[0])) * sizeof(float));
    return {};
  }
  (s.inner ? sumColumns : sumRuns)(ctx, s, x, y);
  return {};
}

Status broadcast_to(Context& ctx, const NsCall& call, const op::broadcast_to::Params&) {
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const int64_t total = count(call.out[0]);
  if (total == 0) return {};
  const plan::Kept s = plan::keptOf(call.out[0], call.in[0]);
  // Runs of the output; x holds the kept dims in the same order, so a kept position is the row of x.
  const int64_t run = s.n < kSegment ? s.n : kSegment, cuts = (s.n + run - 1) / run, each = s.repeated.total * cuts;
  ctx.pool.parallelFor(s.kept.total * each, 16384 / run + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t k = t / each, r = (t - k * each) / cuts, at = (t - k * each - r * cuts) * run;
      const int64_t n = s.n - at < run ? s.n - at : run;
      float* to = y + s.kept.offset(k) + s.repeated.offset(r) + at;
      if (s.inner) {
        std::memcpy(to, x + k * s.n + at, static_cast<size_t>(n) * sizeof(float));
      } else {
        const float v = x[k];
        for (int64_t i = 0; i < n; i++) to[i] = v;
      }
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
