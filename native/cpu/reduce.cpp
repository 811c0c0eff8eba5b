// reduce: sum, mean, max, min, argmax over one axis.
// Floor: bound by memory, the input read once.
// Layout: x as [outer, n, inner]. Sums run in f64, so their error does not grow with n; a long last axis is cut into fixed segments whose
// results are joined in order. The cut depends on n alone: a value is the same for any number of threads and any other rows.
// Reference: torch.sum, mean, amax, amin, argmax; a NaN wins max, min and argmax, and the first maximum counts.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/reduce.cpp"
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

// Sum of n contiguous values in four vectors of f64, added up in a fixed order.
double SumRun(const float* x, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = hn::Zero(d), s2 = hn::Zero(d), s3 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 4 * N <= n; i += 4 * N) {
    s0 = hn::Add(s0, hn::PromoteTo(d, hn::LoadU(df, x + i)));
    s1 = hn::Add(s1, hn::PromoteTo(d, hn::LoadU(df, x + i + N)));
    s2 = hn::Add(s2, hn::PromoteTo(d, hn::LoadU(df, x + i + 2 * N)));
    s3 = hn::Add(s3, hn::PromoteTo(d, hn::LoadU(df, x + i + 3 * N)));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, hn::PromoteTo(d, hn::LoadU(df, x + i)));
  if (hn::MaxLanes(d) > 1 && i < n) s0 = hn::Add(s0, hn::PromoteTo(d, LoadPart(df, x + i, static_cast<size_t>(n - i), 0.0f)));
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

// acc[j] += x[j]
void SumColumns(const float* x, double* acc, int64_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + N <= n; j += N) hn::StoreU(hn::Add(hn::LoadU(d, acc + j), hn::PromoteTo(d, hn::LoadU(df, x + j))), d, acc + j);
  for (; j < n; j++) acc[j] += static_cast<double>(x[j]);
}

// Takes v where it is greater or a NaN; a NaN once taken stays. (Highway's Ne(v, v) is false for NaN on AVX2.)
template <class V>
HWY_INLINE V Greater(V best, V v) {
  return hn::IfThenElse(hn::Or(hn::Gt(v, best), hn::IsNaN(v)), v, best);
}

// Greatest of n >= 1 contiguous values times sign; sign -1 finds the smallest, negated.
float MaxRun(const float* x, int64_t n, float sign) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto s = hn::Set(d, sign);
  auto best = hn::Set(d, x[0] * sign);
  int64_t i = 0;
  for (; i + N <= n; i += N) best = Greater(best, hn::Mul(hn::LoadU(d, x + i), s));
  if (hn::MaxLanes(d) > 1 && i < n) best = Greater(best, hn::Mul(LoadPart(d, x + i, static_cast<size_t>(n - i), x[0]), s));
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(best, d, lanes);
  float m = lanes[0];
  for (int64_t l = 1; l < N; l++) {
    if (lanes[l] > m || lanes[l] != lanes[l]) m = lanes[l];
  }
  return m;
}

// best[j] = the greater of best[j] and x[j] * sign
void MaxColumns(const float* x, float* best, int64_t n, float sign) {
  const F32 d;
  const auto s = hn::Set(d, sign);
  Map2(d, best, x, best, n, [&](hn::Vec<F32> b, hn::Vec<F32> v) { return Greater(b, hn::Mul(v, s)); });
}

// First index whose value is m; for a NaN m the first NaN. m is one of the values.
int64_t FindRun(const float* x, int64_t n, float m) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const auto v = hn::Set(d, m);
  const bool nan = m != m;
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    const auto u = hn::LoadU(d, x + i);
    const intptr_t at = hn::FindFirstTrue(d, nan ? hn::IsNaN(u) : hn::Eq(u, v));
    if (at >= 0) return i + at;
  }
  while (i + 1 < n && !(nan ? x[i] != x[i] : x[i] == m)) i++;
  return i;
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(SumRun);
HWY_EXPORT(SumColumns);
HWY_EXPORT(MaxRun);
HWY_EXPORT(MaxColumns);
HWY_EXPORT(FindRun);

namespace {
using Fn = op::reduce::Fn;
constexpr int64_t kSegment = 65536;
constexpr int64_t kColumns = 128;

struct Axis {
  int64_t outer = 1, n = 1, inner = 1;
};

bool greater(float v, float best) { return v > best || v != v; }

float joinMax(const float* parts, int64_t n) {
  float m = parts[0];
  for (int64_t i = 1; i < n; i++) {
    if (greater(parts[i], m)) m = parts[i];
  }
  return m;
}

int32_t joinArgmax(const float* x, const float* parts, int64_t segments, int64_t n) {
  const float m = joinMax(parts, segments);
  int64_t s = 0;
  while (s + 1 < segments && !(m != m ? parts[s] != parts[s] : parts[s] == m)) s++;
  const int64_t from = s * kSegment, size = n - from < kSegment ? n - from : kSegment;
  return static_cast<int32_t>(from + HWY_DYNAMIC_DISPATCH(FindRun)(x + from, size, m));
}

// Over the last axis: one partial result per segment, then the join.
void reduceRuns(Context& ctx, Fn fn, const Axis& a, const float* x, void* y) {
  const int64_t segments = (a.n + kSegment - 1) / kSegment, parts = a.outer * segments;
  const bool sum = fn == Fn::sum || fn == Fn::mean;
  const float sign = fn == Fn::min ? -1.0f : 1.0f;
  double* sums = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(parts) * sizeof(double)));
  float* maxima = reinterpret_cast<float*>(sums);
  const int64_t grain = 16384 / (a.n < kSegment ? a.n : kSegment) + 1;
  ctx.pool.parallelFor(parts, grain, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t row = t / segments, from = (t - row * segments) * kSegment;
      const float* p = x + row * a.n + from;
      const int64_t size = a.n - from < kSegment ? a.n - from : kSegment;
      if (sum) {
        sums[t] = HWY_DYNAMIC_DISPATCH(SumRun)(p, size);
      } else {
        maxima[t] = HWY_DYNAMIC_DISPATCH(MaxRun)(p, size, sign);
      }
    }
  });
  float* yf = static_cast<float*>(y);
  ctx.pool.parallelFor(a.outer, 16384 / a.n + 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; row++) {
      const double* s = sums + row * segments;
      const float* m = maxima + row * segments;
      if (sum) {
        double total = 0;
        for (int64_t i = 0; i < segments; i++) total += s[i];
        yf[row] = static_cast<float>(fn == Fn::mean ? total / static_cast<double>(a.n) : total);
      } else if (fn == Fn::argmax) {
        static_cast<int32_t*>(y)[row] = joinArgmax(x + row * a.n, m, segments, a.n);
      } else {
        yf[row] = sign * joinMax(m, segments);
      }
    }
  });
}

void argmaxColumns(const float* x, int64_t n, int64_t stride, float* best, int32_t* at, int64_t width) {
  for (int64_t j = 0; j < width; j++) {
    best[j] = x[j];
    at[j] = 0;
  }
  for (int64_t i = 1; i < n; i++) {
    const float* row = x + i * stride;
    for (int64_t j = 0; j < width; j++) {
      if (best[j] != best[j] || !greater(row[j], best[j])) continue;
      best[j] = row[j];
      at[j] = static_cast<int32_t>(i);
    }
  }
}

// Over another axis: rows of up to kColumns neighbours go down the axis together.
void reduceColumns(Context& ctx, Fn fn, const Axis& a, const float* x, void* y) {
  const int64_t blocks = (a.inner + kColumns - 1) / kColumns;
  const int64_t grain = 16384 / (a.n * (a.inner < kColumns ? a.inner : kColumns)) + 1;
  const float sign = fn == Fn::min ? -1.0f : 1.0f;
  ctx.pool.parallelFor(a.outer * blocks, grain, [&](int64_t begin, int64_t end, int) {
    double acc[kColumns];
    float best[kColumns];
    for (int64_t t = begin; t < end; t++) {
      const int64_t o = t / blocks, from = (t - o * blocks) * kColumns, width = a.inner - from < kColumns ? a.inner - from : kColumns;
      const float* p = x + o * a.n * a.inner + from;
      const int64_t to = o * a.inner + from;
      float* yf = static_cast<float*>(y) + to;
      if (fn == Fn::argmax) {
        argmaxColumns(p, a.n, a.inner, best, static_cast<int32_t*>(y) + to, width);
      } else if (fn == Fn::sum || fn == Fn::mean) {
        for (int64_t j = 0; j < width; j++) acc[j] = 0;
        for (int64_t i = 0; i < a.n; i++) HWY_DYNAMIC_DISPATCH(SumColumns)(p + i * a.inner, acc, width);
        for (int64_t j = 0; j < width; j++) yf[j] = static_cast<float>(fn == Fn::mean ? acc[j] / static_cast<double>(a.n) : acc[j]);
      } else {
        for (int64_t j = 0; j < width; j++) best[j] = p[j] * sign;
        for (int64_t i = 1; i < a.n; i++) HWY_DYNAMIC_DISPATCH(MaxColumns)(p + i * a.inner, best, width, sign);
        for (int64_t j = 0; j < width; j++) yf[j] = best[j] * sign;
      }
    }
  });
}
}  // namespace

namespace kernels {

Status reduce(Context& ctx, const NsCall& call, const op::reduce::Params& p) {
  const NsTensor& t = call.in[0];
  if (dtype(t) != DType::f32) return failure(NS_UNSUPPORTED, "[reduce] x is %s, accepted: f32", dtypeName(dtype(t)));
  const int axis = p.axis < 0 ? p.axis + t.ndim : p.axis;
  Axis a;
  for (int i = 0; i < t.ndim; i++) (i < axis ? a.outer : i == axis ? a.n : a.inner) *= t.dims[i];
  if (a.outer * a.inner == 0) return {};
  if (a.n == 0) return failure(NS_INVALID, "[reduce] axis %d has no entries", axis);
  (a.inner == 1 ? reduceRuns : reduceColumns)(ctx, p.fn, a, in<float>(call, 0), call.out[0].data);
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
