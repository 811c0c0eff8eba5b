// layer_norm (with AdaLN modulation), group_norm (NHWC, with SiLU), l2_normalize.
// Floor: memory. layer_norm and l2_normalize 8 bytes per element; group_norm 12, the input being read twice from memory.
// Statistics: rows in two passes around a mean that lies in cache, corrected by the mean's own rounding; group_norm in one pass per block
// of positions, around the mean of the first few, joining the blocks in double in their order, so neither the thread count nor the batch
// moves a bit. Layout: rows of C contiguous channels. Reference: torch.nn.functional.layer_norm, group_norm, normalize.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/norm.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/cache_control.h"
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <cmath>

#include "native/cpu/context.h"
#include "native/cpu/norm-inl.h"
#include "native/cpu/norm.h"
#include "native/cpu/simd_math-inl.h"

#ifndef NS_CPU_NORM_CPP_ONCE_
#define NS_CPU_NORM_CPP_ONCE_
namespace ns::cpu {
constexpr int64_t kGroupFirst = 8;     // positions whose mean the statistics of a block go around
constexpr int kGroupRows = 4;          // positions that they take at a time
constexpr int64_t kGroupAhead = 2048;  // floats that they fetch in advance
constexpr int64_t kApplyAhead = 512;   // the same of the second pass
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

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

// Per channel over `rows` positions: a mean of the first ones, and around it the sum of differences and of their squares. With m of
// them the squares exceed those around the block's own mean by a factor of at most 1 + rows / m, whatever the offset of the channel.
void GroupBlock(const float* x, int64_t rows, int64_t C, float* mean, float* rest, float* squares) {
  const NormD d;
  const int64_t some = std::min(rows, kGroupFirst);
  const NormV inverse = hn::Set(d, 1.0f / static_cast<float>(some));
  NormColumns(C, [&](int64_t, auto load, auto store) {
    NormV sum = load(x);
    for (int64_t k = 1; k < some; k++) sum = hn::Add(sum, load(x + k * C));
    store(hn::Mul(sum, inverse), mean);
    store(hn::Zero(d), rest);
    store(hn::Zero(d), squares);
  });
  int64_t r = 0;
  for (; r + kGroupRows <= rows; r += kGroupRows, x += kGroupRows * C) {
    NormColumns(C, [&](int64_t i, auto load, auto store) {
      const NormV m = load(mean);
      NormV v[kGroupRows], s[kGroupRows], q[kGroupRows];
      for (int k = 0; k < kGroupRows; k++) __builtin_prefetch(x + k * C + i + kGroupAhead);
      for (int k = 0; k < kGroupRows; k++) {
        v[k] = hn::Sub(load(x + k * C), m);
        s[k] = v[k];
        q[k] = hn::Mul(v[k], v[k]);
      }
      for (int half = kGroupRows / 2; half > 0; half /= 2) {
        for (int k = 0; k < half; k++) {
          s[k] = hn::Add(s[k], s[k + half]);
          q[k] = hn::Add(q[k], q[k + half]);
        }
      }
      store(hn::Add(load(rest), s[0]), rest);
      store(hn::Add(load(squares), q[0]), squares);
    });
  }
  for (; r < rows; r++, x += C) {
    NormColumns(C, [&](int64_t, auto load, auto store) {
      const NormV v = hn::Sub(load(x), load(mean));
      store(hn::Add(load(rest), v), rest);
      store(hn::MulAdd(v, v, load(squares)), squares);
    });
  }
}

// y = (x - mean) * mul + add per channel, then SiLU.
template <bool kSilu, bool kStream>
HWY_INLINE void GroupApplyImpl(const float* x, int64_t rows, int64_t C, const float* mean, const float* mul, const float* add, float* y) {
  const NormD d;
  const int64_t N = NormLanes();
  const auto f = [&](NormV v, NormV m, NormV a, NormV b) {
    const NormV z = hn::MulAdd(hn::Sub(v, m), a, b);
    if constexpr (kSilu) return ShortSilu(d, z);
    return z;
  };
  for (int64_t r = 0; r < rows; r++, x += C, y += C) {
    int64_t i = 0;
    for (; i + N <= C; i += N) {
      __builtin_prefetch(x + i + kApplyAhead);
      const NormV v = f(hn::LoadU(d, x + i), hn::Load(d, mean + i), hn::Load(d, mul + i), hn::Load(d, add + i));
      if constexpr (kStream) {
        hn::Stream(v, d, y + i);
      } else {
        hn::StoreU(v, d, y + i);
      }
    }
    if (i < C) {
      const size_t k = static_cast<size_t>(C - i);
      StorePart(d, f(LoadPart(d, x + i, k, 0.0f), hn::Load(d, mean + i), hn::Load(d, mul + i), hn::Load(d, add + i)), y + i, k);
    }
  }
}

void GroupApply(const float* x, int64_t rows, int64_t C, const float* mean, const float* mul, const float* add, bool silu, bool stream,
                float* y) {
  if (stream) {
    silu ? GroupApplyImpl<true, true>(x, rows, C, mean, mul, add, y) : GroupApplyImpl<false, true>(x, rows, C, mean, mul, add, y);
    hwy::FlushStream();
  } else {
    silu ? GroupApplyImpl<true, false>(x, rows, C, mean, mul, add, y) : GroupApplyImpl<false, false>(x, rows, C, mean, mul, add, y);
  }
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

// Mean and sum of squared differences of every group in one block.
void blockStatistics(const Group& g, const float* x, int64_t rows, float* tmp, double* to) {
  const int64_t pad = g.padded();
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

void groupStatistics(Context& ctx, const Group& g, const float* x, double eps, double* stats) {
  const size_t tmpFloats = static_cast<size_t>(3 * g.padded());
  double* part = static_cast<double*>(ctx.shared.bytes(0, static_cast<size_t>(g.B * g.blocks * g.G * 2) * sizeof(double)));
  for (int i = 0; i < ctx.pool.threads(); i++) ctx.perThread[i].floats(0, tmpFloats);
  ctx.pool.parallelFor(g.B * g.blocks, g.grain(), [&](int64_t b, int64_t e, int thread) {
    float* tmp = ctx.perThread[thread].floats(0, tmpFloats);
    for (int64_t k = b; k < e; k++) {
      const int64_t r0 = k % g.blocks * g.R;
      blockStatistics(g, x + (k / g.blocks * g.P + r0) * g.C, std::min(g.R, g.P - r0), tmp,
                      part + (k / g.blocks * g.G * g.blocks + k % g.blocks) * 2);
    }
  });
  ctx.pool.parallelFor(g.B * g.G, 8, [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      double mean, m2;
      joinBlocks(g, part + k * g.blocks * 2, &mean, &m2);
      stats[k * 2] = mean;
      stats[k * 2 + 1] = 1.0 / std::sqrt(std::max(m2, 0.0) / (static_cast<double>(g.P) * static_cast<double>(g.width())) + eps);
    }
  });
}

void groupChannels(const Group& g, const double* stats, const float* gamma, const float* beta, float* channels, int64_t stride) {
  const int64_t pad = g.padded();
  for (int64_t image = 0; image < g.B; image++) {
    float* to = channels + image * stride;
    for (int64_t i = 0; i < g.G; i++) {
      const double mean = stats[(image * g.G + i) * 2], rstd = stats[(image * g.G + i) * 2 + 1];
      const float high = static_cast<float>(mean);
      for (int64_t c = i * g.width(); c < (i + 1) * g.width(); c++) {
        to[c] = high;
        to[pad + c] = static_cast<float>(gamma[c] * rstd);
        to[2 * pad + c] = static_cast<float>(beta[c] - (mean - high) * rstd * gamma[c]);
      }
    }
    for (int64_t part = 0; part < 3; part++) std::fill(to + part * pad + g.C, to + (part + 1) * pad, 0.0f);
  }
}

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
  if (p.groups < 1 || t.dims[3] % p.groups != 0)
    return failure(NS_INVALID, "[group_norm] %lld channels, %d groups: does not divide", (long long)t.dims[3], p.groups);
  if (count(t) == 0) return {};
  const Group g = makeGroup(t.dims[0], t.dims[1] * t.dims[2], t.dims[3], p.groups);
  const float* x = in<float>(call, 0);
  const float* gamma = in<float>(call, 1);
  const float* beta = in<float>(call, 2);
  float* y = out<float>(call, 0);
  const int64_t pad = g.padded();
  double* stats = static_cast<double*>(ctx.shared.bytes(1, static_cast<size_t>(g.B * g.G * 2) * sizeof(double)));
  float* channels = ctx.shared.floats(2, static_cast<size_t>(g.B * 3 * pad));
  groupStatistics(ctx, g, x, p.eps, stats);
  groupChannels(g, stats, gamma, beta, channels, 3 * pad);
  const auto apply = HWY_DYNAMIC_DISPATCH(GroupApply);
  const bool stream = streams(y, count(t), g.C);
  ctx.pool.parallelFor(g.B * g.blocks, g.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / g.blocks, r0 = k % g.blocks * g.R, at = (image * g.P + r0) * g.C;
      const float* c = channels + image * 3 * pad;
      apply(x + at, std::min(g.R, g.P - r0), g.C, c, c + pad, c + 2 * pad, p.silu != 0, stream, y + at);
    }
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
