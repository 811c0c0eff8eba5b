// layer_norm (with AdaLN modulation), group_norm (NHWC, with SiLU), l2_normalize.
// Floor: memory. layer_norm and l2_normalize 8 bytes per element; group_norm 12, the input being read twice from memory.
// Statistics: two passes around a mean that lies in cache, corrected by the mean's own rounding; group_norm does so per block of positions
// and joins the blocks in double in their order, so neither the thread count nor the batch moves a bit.
// Layout: rows of C contiguous channels. Reference: torch.nn.functional.layer_norm, group_norm, normalize.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/norm.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <cmath>

#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using NormD = hn::ScalableTag<float>;
using NormV = hn::Vec<NormD>;

HWY_INLINE int64_t NormLanes() { return static_cast<int64_t>(hn::Lanes(NormD())); }

// Sum of f(v) over a row; lanes behind the end count as zero.
template <class F>
HWY_INLINE float NormSum(const float* x, int64_t n, F f) {
  const NormD d;
  const int64_t N = NormLanes();
  NormV s0 = hn::Zero(d), s1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    s0 = hn::Add(s0, f(hn::LoadU(d, x + i)));
    s1 = hn::Add(s1, f(hn::LoadU(d, x + i + N)));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, f(hn::LoadU(d, x + i)));
  if (i < n) {
    const size_t r = static_cast<size_t>(n - i);
    s1 = hn::Add(s1, hn::IfThenElseZero(hn::FirstN(d, r), f(LoadPart(d, x + i, r, 0.0f))));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
}

void LayerNormRow(const float* x, const float* scale, const float* shift, float* y, int64_t n, float eps) {
  const NormD d;
  const float count = static_cast<float>(n);
  const float mean = NormSum(x, n, [](NormV v) { return v; }) / count;
  const NormV m = hn::Set(d, mean);
  // What rounding left out of the mean; (x - mean) itself is nearly exact.
  const float rest = NormSum(x, n, [&](NormV v) { return hn::Sub(v, m); }) / count;
  const NormV r = hn::Set(d, rest);
  const float squares = NormSum(x, n, [&](NormV v) {
    const NormV c = hn::Sub(hn::Sub(v, m), r);
    return hn::Mul(c, c);
  });
  const NormV rstd = hn::Set(d, 1.0f / std::sqrt(squares / count + eps));
  const NormV one = hn::Set(d, 1.0f);
  const auto normal = [&](NormV v) { return hn::Mul(hn::Sub(hn::Sub(v, m), r), rstd); };
  if (!scale) return Map(d, x, y, n, normal);
  const int64_t N = NormLanes();
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    hn::StoreU(hn::MulAdd(normal(hn::LoadU(d, x + i)), hn::Add(hn::LoadU(d, scale + i), one), hn::LoadU(d, shift + i)), d, y + i);
  }
  if (i < n) {
    const size_t k = static_cast<size_t>(n - i);
    const NormV a = hn::Add(LoadPart(d, scale + i, k, 0.0f), one), b = LoadPart(d, shift + i, k, 0.0f);
    StorePart(d, hn::MulAdd(normal(LoadPart(d, x + i, k, 0.0f)), a, b), y + i, k);
  }
}

void L2NormalizeRow(const float* x, float* y, int64_t n, float eps) {
  const NormD d;
  const float squares = NormSum(x, n, [](NormV v) { return hn::Mul(v, v); });
  const NormV norm = hn::Set(d, std::max(std::sqrt(squares), eps));
  Map(d, x, y, n, [&](NormV v) { return hn::Div(v, norm); });
}

// f(load, store, i) over the channels in vectors; the last one goes through padded copies.
template <class F>
HWY_INLINE void GroupColumns(int64_t C, F f) {
  const NormD d;
  const int64_t N = NormLanes();
  int64_t i = 0;
  for (; i + N <= C; i += N) {
    f([&](const float* p) { return hn::LoadU(d, p + i); }, [&](NormV v, float* p) { hn::StoreU(v, d, p + i); });
  }
  if (i < C) {
    const size_t r = static_cast<size_t>(C - i);
    f([&](const float* p) { return LoadPart(d, p + i, r, 0.0f); }, [&](NormV v, float* p) { StorePart(d, v, p + i, r); });
  }
}

// Per channel over `rows` positions: mean, and around it the sum of differences and of their squares.
void GroupBlock(const float* x, int64_t rows, int64_t C, float* mean, float* rest, float* squares) {
  const NormD d;
  const NormV inverse = hn::Set(d, 1.0f / static_cast<float>(rows));
  // The block comes from memory here: rows in order, sums in cache.
  std::fill(mean, mean + C, 0.0f);
  for (int64_t r = 0; r < rows; r += 4) {
    const float* p = x + r * C;
    const int64_t left = rows - r;
    GroupColumns(C, [&](auto load, auto store) {
      NormV s = load(p);
      if (left > 1) s = hn::Add(s, load(p + C));
      if (left > 2) s = hn::Add(s, load(p + 2 * C));
      if (left > 3) s = hn::Add(s, load(p + 3 * C));
      s = hn::Add(load(mean), s);
      store(r + 4 >= rows ? hn::Mul(s, inverse) : s, mean);
    });
  }
  GroupColumns(C, [&](auto load, auto store) {
    const NormV m = load(mean);
    NormV s = hn::Zero(d), q = hn::Zero(d);
    for (int64_t r = 0; r < rows; r++) {
      const NormV v = hn::Sub(load(x + r * C), m);
      s = hn::Add(s, v);
      q = hn::MulAdd(v, v, q);
    }
    store(s, rest);
    store(q, squares);
  });
}

// y = (x - mean) * mul + add per channel, then SiLU.
template <bool kSilu>
HWY_INLINE void GroupApplyImpl(const float* x, int64_t rows, int64_t C, const float* mean, const float* mul, const float* add, float* y) {
  const NormD d;
  const int64_t N = NormLanes();
  const auto f = [&](NormV v, NormV m, NormV a, NormV b) {
    const NormV z = hn::MulAdd(hn::Sub(v, m), a, b);
    if constexpr (kSilu) return cpu::HWY_NAMESPACE::Silu(d, z);
    return z;
  };
  for (int64_t r = 0; r < rows; r++, x += C, y += C) {
    int64_t i = 0;
    for (; i + N <= C; i += N)
      hn::StoreU(f(hn::LoadU(d, x + i), hn::Load(d, mean + i), hn::Load(d, mul + i), hn::Load(d, add + i)), d, y + i);
    if (i < C) {
      const size_t k = static_cast<size_t>(C - i);
      StorePart(d, f(LoadPart(d, x + i, k, 0.0f), hn::Load(d, mean + i), hn::Load(d, mul + i), hn::Load(d, add + i)), y + i, k);
    }
  }
}

void GroupApply(const float* x, int64_t rows, int64_t C, const float* mean, const float* mul, const float* add, bool silu, float* y) {
  silu ? GroupApplyImpl<true>(x, rows, C, mean, mul, add, y) : GroupApplyImpl<false>(x, rows, C, mean, mul, add, y);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(LayerNormRow);
HWY_EXPORT(L2NormalizeRow);
HWY_EXPORT(GroupBlock);
HWY_EXPORT(GroupApply);

namespace {

constexpr int64_t kGrainFloats = 16384;

struct Group {
  int64_t B, P, C, G, R, blocks;  // P positions in blocks of R
  int64_t width() const { return C / G; }
};

// Mean and sum of squared differences of every group in one block.
void blockStatistics(const Group& g, const float* x, int64_t rows, float* tmp, double* to) {
  const int64_t pad = (g.C + 15) / 16 * 16;
  float *mean = tmp, *rest = tmp + pad, *squares = tmp + 2 * pad;
  HWY_DYNAMIC_DISPATCH(GroupBlock)(x, rows, g.C, mean, rest, squares);
  const double n = static_cast<double>(rows);
  for (int64_t i = 0; i < g.G; i++) {
    double sum = 0, m2 = 0;
    const int64_t c0 = i * g.width(), c1 = c0 + g.width();
    for (int64_t c = c0; c < c1; c++) sum += n * mean[c] + rest[c];
    const double m = sum / (n * static_cast<double>(g.width()));
    for (int64_t c = c0; c < c1; c++) {
      const double shift = mean[c] - m;
      m2 += squares[c] + shift * (2.0 * rest[c] + n * shift);
    }
    to[i * g.blocks * 2] = m;
    to[i * g.blocks * 2 + 1] = m2;
  }
}

// Joins the blocks of one (image, group) in their order.
void joinBlocks(const Group& g, const double* part, double* mean, double* m2) {
  const auto rows = [&](int64_t k) { return static_cast<double>(std::min(g.R, g.P - k * g.R)); };
  double sum = 0;
  for (int64_t k = 0; k < g.blocks; k++) sum += rows(k) * part[k * 2];
  *mean = sum / static_cast<double>(g.P);
  *m2 = 0;
  for (int64_t k = 0; k < g.blocks; k++) {
    const double shift = part[k * 2] - *mean;
    *m2 += part[k * 2 + 1] + rows(k) * static_cast<double>(g.width()) * shift * shift;
  }
}

}  // namespace

namespace kernels {

Status layer_norm(Context& ctx, const NsCall& call, const op::layer_norm::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t B = t.dims[0], l = t.dims[1], C = t.dims[2];
  if (count(t) == 0) return {};
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const float* mod = nullptr;
  int64_t step = 0;
  if (const NsTensor* m = input(call, 1)) {
    const int64_t G = m->dims[1];
    if (m->dims[2] != C || (m->dims[0] != B && m->dims[0] != 1) || p.scaleAt < 0 || p.scaleAt >= G || p.shiftAt < 0 || p.shiftAt >= G) {
      return failure(NS_INVALID, "[layer_norm] mod is [%lld,%lld,%lld], x has B %lld and C %lld, scaleAt %d, shiftAt %d",
                     (long long)m->dims[0], (long long)G, (long long)m->dims[2], (long long)B, (long long)C, p.scaleAt, p.shiftAt);
    }
    mod = static_cast<const float*>(m->data);
    step = m->dims[0] == 1 ? 0 : G * C;
  }
  const auto row = HWY_DYNAMIC_DISPATCH(LayerNormRow);
  ctx.pool.parallelFor(B * l, std::max<int64_t>(1, kGrainFloats / C), [&](int64_t b, int64_t e, int) {
    for (int64_t r = b; r < e; r++) {
      const float* m = mod ? mod + r / l * step : nullptr;
      row(x + r * C, m ? m + p.scaleAt * C : nullptr, m ? m + p.shiftAt * C : nullptr, y + r * C, C, p.eps);
    }
  });
  return {};
}

Status l2_normalize(Context& ctx, const NsCall& call, const op::l2_normalize::Params& p) {
  const NsTensor& t = call.in[0];
  const int64_t total = count(t);
  if (total == 0) return {};
  const int64_t C = t.dims[t.ndim - 1];
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(L2NormalizeRow);
  ctx.pool.parallelFor(total / C, std::max<int64_t>(1, kGrainFloats / C), [&](int64_t b, int64_t e, int) {
    for (int64_t r = b; r < e; r++) row(x + r * C, y + r * C, C, p.eps);
  });
  return {};
}

Status group_norm(Context& ctx, const NsCall& call, const op::group_norm::Params& p) {
  const NsTensor& t = call.in[0];
  Group g = {t.dims[0], t.dims[1] * t.dims[2], t.dims[3], p.groups, 0, 0};
  if (g.G < 1 || g.C % g.G != 0)
    return failure(NS_INVALID, "[group_norm] %lld channels, %d groups: does not divide", (long long)g.C, p.groups);
  if (count(t) == 0) return {};
  // The block depends on the shape of one image alone.
  g.R = std::clamp<int64_t>(8192 / g.C, 8, 256);
  g.blocks = (g.P + g.R - 1) / g.R;
  const float* x = in<float>(call, 0);
  const float* gamma = in<float>(call, 1);
  const float* beta = in<float>(call, 2);
  float* y = out<float>(call, 0);
  const int64_t pad = (g.C + 15) / 16 * 16;
  double* part = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(g.B * g.blocks * g.G * 2) * sizeof(double)));
  float* channels = ctx.shared.floats(1, static_cast<size_t>(g.B * 3 * pad));
  for (int i = 0; i < ctx.pool.threads(); i++) ctx.perThread[i].floats(0, static_cast<size_t>(3 * pad));

  const int64_t grain = std::max<int64_t>(1, 4 * kGrainFloats / (g.R * g.C));
  ctx.pool.parallelFor(g.B * g.blocks, grain, [&](int64_t b, int64_t e, int thread) {
    float* tmp = ctx.perThread[thread].floats(0, static_cast<size_t>(3 * pad));
    for (int64_t k = b; k < e; k++) {
      const int64_t r0 = k % g.blocks * g.R;
      blockStatistics(g, x + (k / g.blocks * g.P + r0) * g.C, std::min(g.R, g.P - r0), tmp,
                      part + (k / g.blocks * g.G * g.blocks + k % g.blocks) * 2);
    }
  });
  ctx.pool.parallelFor(g.B * g.G, 8, [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / g.G, group = k % g.G;
      double mean, m2;
      joinBlocks(g, part + k * g.blocks * 2, &mean, &m2);
      const double rstd =
          1.0 / std::sqrt(std::max(m2, 0.0) / (static_cast<double>(g.P) * static_cast<double>(g.width())) + static_cast<double>(p.eps));
      float* to = channels + image * 3 * pad;
      for (int64_t c = group * g.width(); c < (group + 1) * g.width(); c++) {
        const float high = static_cast<float>(mean);
        to[c] = high;
        to[pad + c] = static_cast<float>(gamma[c] * rstd);
        to[2 * pad + c] = static_cast<float>(beta[c] - (mean - high) * rstd * gamma[c]);
      }
    }
  });
  const auto apply = HWY_DYNAMIC_DISPATCH(GroupApply);
  ctx.pool.parallelFor(g.B * g.blocks, grain, [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / g.blocks, r0 = k % g.blocks * g.R, at = (image * g.P + r0) * g.C;
      const float* c = channels + image * 3 * pad;
      apply(x + at, std::min(g.R, g.P - r0), g.C, c, c + pad, c + 2 * pad, p.silu != 0, y + at);
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
