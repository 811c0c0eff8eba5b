// layer_norm_grad (with AdaLN modulation) and group_norm_grad (NHWC, with SiLU).
// Floor: memory, 12 bytes per element while a row, or the images of one round of group_norm, stay in cache; an image that does not fit is
// read again by each of group_norm's three passes (statistics; sums of the gradient; result), 24 bytes, 32 with SiLU.
// With xh = (x - mean) * rstd and g = dy * factor: dx = rstd * (g - mean(g) - xh * mean(g * xh)), means over a row or a group.
// Sums over rows and positions run in blocks that depend on the shape alone and are joined in double in their order.
// Layout: rows of C contiguous channels. Reference: autograd of torch.nn.functional.layer_norm, group_norm, silu.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/norm_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <cmath>

#include "native/cpu/context.h"
#include "native/cpu/norm-inl.h"
#include "native/cpu/norm.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One row. scale null: no modulation. dScale and dShift, where given, get dy * xh and dy added.
HWY_INLINE void LayerNormGradRow(const float* x, const float* dy, const float* scale, float* dx, int64_t C, float eps, float* dScale,
                                 float* dShift) {
  const NormD d;
  const float n = static_cast<float>(C);
  const NormV one = hn::Set(d, 1.0f);
  const NormV m = hn::Set(d, NormSum(x, C, [](NormV v) { return v; }) / n);
  NormV s = hn::Zero(d), q = hn::Zero(d), a = hn::Zero(d), b = hn::Zero(d);
  NormColumns(C, [&](int64_t i, auto load, auto) {
    NormV v = hn::Sub(load(x), m), g = load(dy);
    if (scale) g = hn::Mul(g, hn::Add(load(scale), one));
    if (i + NormLanes() > C) v = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(C - i)), v);
    s = hn::Add(s, v);
    q = hn::MulAdd(v, v, q);
    a = hn::Add(a, g);
    b = hn::MulAdd(v, g, b);
  });
  const auto total = [&](NormV v) { return hn::GetLane(hn::SumOfLanes(d, v)) / n; };
  // The rounding of the mean is taken out of the sums taken around it.
  const float rest = total(s), rstd = 1.0f / std::sqrt(std::max(total(q) - rest * rest, 0.0f) + eps);
  const float mean = total(a), slope = (total(b) - rest * mean) * rstd;
  const NormV r = hn::Set(d, rest), f = hn::Set(d, rstd), e = hn::Set(d, mean), k = hn::Set(d, slope);
  NormColumns(C, [&](int64_t i, auto load, auto store) {
    const NormV xh = hn::Mul(hn::Sub(hn::Sub(load(x), m), r), f), y = load(dy);
    const NormV g = scale ? hn::Mul(y, hn::Add(load(scale), one)) : y;
    store(hn::Mul(f, hn::NegMulAdd(xh, k, hn::Sub(g, e))), dx);
    if (!dScale) return;
    hn::Store(hn::MulAdd(y, xh, hn::Load(d, dScale + i)), d, dScale + i);
    hn::Store(hn::Add(y, hn::Load(d, dShift + i)), d, dShift + i);
  });
}

void LayerNormGradRows(const float* x, const float* dy, const float* scale, float* dx, int64_t rows, int64_t C, float eps, float* dScale,
                       float* dShift) {
  for (int64_t r = 0; r < rows; r++) LayerNormGradRow(x + r * C, dy + r * C, scale, dx + r * C, C, eps, dScale, dShift);
}

// What comes out of SiLU at z, turned into what goes in.
HWY_INLINE NormV SiluGrad(NormV z, NormV dy) {
  const NormD d;
  const NormV one = hn::Set(d, 1.0f), s = cpu::HWY_NAMESPACE::Sigmoid(d, z);
  return hn::Mul(dy, hn::Mul(s, hn::MulAdd(z, hn::Sub(one, s), one)));
}

// Per channel over a block of positions: sums of dz and dz * (x - mean). With SiLU dz is written to dx, otherwise it is dy.
// channels [3][pad] as groupChannels makes them, sums [2][pad].
template <bool kSilu>
HWY_INLINE void GroupGradSumsImpl(const float* x, const float* dy, int64_t rows, int64_t C, const float* channels, int64_t pad, float* sums,
                                  float* dx) {
  const NormD d;
  std::fill(sums, sums + 2 * pad, 0.0f);
  for (int64_t r = 0; r < rows; r += 4, x += 4 * C, dy += 4 * C, dx += 4 * C) {
    const int64_t n = std::min<int64_t>(4, rows - r);
    NormColumns(C, [&](int64_t i, auto load, auto store) {
      const NormV m = hn::Load(d, channels + i), a = hn::Load(d, channels + pad + i), b = hn::Load(d, channels + 2 * pad + i);
      NormV s = hn::Load(d, sums + i), t = hn::Load(d, sums + pad + i);
      for (int64_t k = 0; k < n; k++) {
        const NormV v = hn::Sub(load(x + k * C), m);
        NormV g = load(dy + k * C);
        if constexpr (kSilu) {
          g = SiluGrad(hn::MulAdd(v, a, b), g);
          store(g, dx + k * C);
        }
        s = hn::Add(s, g);
        t = hn::MulAdd(g, v, t);
      }
      hn::Store(s, d, sums + i);
      hn::Store(t, d, sums + pad + i);
    });
  }
}

void GroupGradSums(const float* x, const float* dy, int64_t rows, int64_t C, const float* channels, int64_t pad, bool silu, float* sums,
                   float* dx) {
  silu ? GroupGradSumsImpl<true>(x, dy, rows, C, channels, pad, sums, dx)
       : GroupGradSumsImpl<false>(x, dy, rows, C, channels, pad, sums, dx);
}

// dx = a * dz - (b + c * (x - mean)) per channel; terms [3][pad] are a, b, c. dz may be dx.
void GroupGradApply(const float* x, const float* dz, int64_t rows, int64_t C, const float* mean, const float* terms, int64_t pad,
                    float* dx) {
  const NormD d;
  for (int64_t r = 0; r < rows; r++, x += C, dz += C, dx += C) {
    NormColumns(C, [&](int64_t i, auto load, auto store) {
      const NormV a = hn::Load(d, terms + i), b = hn::Load(d, terms + pad + i), c = hn::Load(d, terms + 2 * pad + i);
      const NormV v = hn::Sub(load(x), hn::Load(d, mean + i));
      store(hn::MulSub(a, load(dz), hn::MulAdd(c, v, b)), dx);
    });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(LayerNormGradRows);
HWY_EXPORT(GroupGradSums);
HWY_EXPORT(GroupGradApply);

namespace {

constexpr int64_t kRows = 32;                 // of layer_norm's dMod per block
constexpr int64_t kColumns = 128;             // per task when blocks are joined
constexpr int64_t kCacheFloats = 512 * 1024;  // of x in one round of group_norm

// Adds the blocks [blocks][2][pad] of one image to dScale and dShift, in their order.
void joinRows(const float* part, int64_t blocks, int64_t pad, int64_t C, float* dScale, float* dShift) {
  for (int64_t c0 = 0; c0 < C; c0 += kColumns) {
    const int64_t n = std::min(kColumns, C - c0);
    double sum[2][kColumns] = {};
    for (int64_t k = 0; k < 2 * blocks; k++) {
      const float* from = part + k * pad + c0;
      for (int64_t c = 0; c < n; c++) sum[k & 1][c] += from[c];
    }
    for (int64_t c = 0; c < n; c++) dScale[c0 + c] = static_cast<float>(dScale[c0 + c] + sum[0][c]);
    for (int64_t c = 0; c < n; c++) dShift[c0 + c] = static_cast<float>(dShift[c0 + c] + sum[1][c]);
  }
}

// Sums of the gradient over all images of one call, and what of it one image needs.
struct GroupGrad {
  Group g;
  const float *x, *dy, *gamma, *beta;
  float* dx;
  float eps;
  bool silu;
  double* total;  // [2][C]: dGamma, dBeta
};

// The terms of GroupGradApply for one group of one image from its blocks; adds to total.
void groupTerms(const GroupGrad& w, int64_t group, const double* stats, const float* blocks, double* sums, float* terms) {
  const Group& g = w.g;
  const int64_t pad = g.padded(), c0 = group * g.width(), c1 = c0 + g.width();
  std::fill(sums + c0, sums + c1, 0.0);
  std::fill(sums + pad + c0, sums + pad + c1, 0.0);
  for (int64_t k = 0; k < g.blocks; k++) {
    const float* from = blocks + k * 2 * pad;
    for (int64_t c = c0; c < c1; c++) {
      sums[c] += from[c];
      sums[pad + c] += from[pad + c];
    }
  }
  const double mean = stats[0], rstd = stats[1], rest = mean - static_cast<float>(mean);
  double level = 0, slope = 0;
  for (int64_t c = c0; c < c1; c++) {
    const double dGamma = rstd * (sums[pad + c] - rest * sums[c]);
    w.total[c] += dGamma;
    w.total[g.C + c] += sums[c];
    level += w.gamma[c] * sums[c];
    slope += w.gamma[c] * dGamma;
  }
  const double n = static_cast<double>(g.P) * static_cast<double>(g.width());
  level *= rstd / n;
  slope *= rstd * rstd / n;
  for (int64_t c = c0; c < c1; c++) {
    terms[c] = static_cast<float>(rstd * w.gamma[c]);
    terms[pad + c] = static_cast<float>(level - slope * rest);
    terms[2 * pad + c] = static_cast<float>(slope);
  }
}

// The images of one round: they stay in cache from pass to pass.
void groupRound(Context& ctx, const GroupGrad& w) {
  const Group& g = w.g;
  const int64_t pad = g.padded(), stride = 6 * pad;
  double* stats = static_cast<double*>(ctx.shared.bytes(1, static_cast<size_t>(g.B * g.G * 2 + 2 * pad) * sizeof(double)));
  float* channels = ctx.shared.floats(2, static_cast<size_t>(g.B * stride));
  groupStatistics(ctx, g, w.x, w.eps, stats);
  groupChannels(g, stats, w.gamma, w.beta, channels, stride);
  float* part = ctx.shared.floats(0, static_cast<size_t>(g.B * g.blocks * 2 * pad));
  const auto sums = HWY_DYNAMIC_DISPATCH(GroupGradSums);
  ctx.pool.parallelFor(g.B * g.blocks, g.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / g.blocks, r0 = k % g.blocks * g.R, at = (image * g.P + r0) * g.C;
      sums(w.x + at, w.dy + at, std::min(g.R, g.P - r0), g.C, channels + image * stride, pad, w.silu, part + k * 2 * pad, w.dx + at);
    }
  });
  ctx.pool.parallelFor(g.G, std::max<int64_t>(1, 64 / g.width()), [&](int64_t b, int64_t e, int) {
    for (int64_t i = b; i < e; i++) {
      for (int64_t image = 0; image < g.B; image++) {
        groupTerms(w, i, stats + (image * g.G + i) * 2, part + image * g.blocks * 2 * pad, stats + g.B * g.G * 2,
                   channels + image * stride + 3 * pad);
      }
    }
  });
  const auto apply = HWY_DYNAMIC_DISPATCH(GroupGradApply);
  ctx.pool.parallelFor(g.B * g.blocks, g.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / g.blocks, r0 = k % g.blocks * g.R, at = (image * g.P + r0) * g.C;
      const float* c = channels + image * stride;
      apply(w.x + at, (w.silu ? w.dx : w.dy) + at, std::min(g.R, g.P - r0), g.C, c, c + 3 * pad, pad, w.dx + at);
    }
  });
}

}  // namespace

namespace kernels {

Status layer_norm_grad(Context& ctx, const NsCall& call, const op::layer_norm_grad::Params& p) {
  namespace I = op::layer_norm_grad::in;
  const NsTensor& t = call.in[I::x];
  const int64_t B = t.dims[0], l = t.dims[1], C = t.dims[2];
  const NsTensor* m = input(call, I::mod);
  const NsTensor* dm = input(call, I::dMod);
  for (const NsTensor* r : {m, dm}) {
    if (r && (r->dims[2] != C || (r->dims[0] != B && r->dims[0] != 1) || p.scaleAt < 0 || p.scaleAt >= r->dims[1] || p.shiftAt < 0 ||
              p.shiftAt >= r->dims[1])) {
      return failure(NS_INVALID, "[layer_norm_grad] mod or dMod is [%lld,%lld,%lld], x has B %lld and C %lld, scaleAt %d, shiftAt %d",
                     (long long)r->dims[0], (long long)r->dims[1], (long long)r->dims[2], (long long)B, (long long)C, p.scaleAt, p.shiftAt);
    }
  }
  if (count(t) == 0) return {};
  const float* x = in<float>(call, I::x);
  const float* dy = in<float>(call, I::dy);
  float* dx = out<float>(call, 0);
  // A block lies within the rows that share a row of mod.
  const int64_t images = (m && m->dims[0] > 1) || (dm && dm->dims[0] > 1) ? B : 1, rows = B * l / images;
  const int64_t blocks = (rows + kRows - 1) / kRows, pad = (C + 15) / 16 * 16;
  float* part = dm ? ctx.shared.floats(0, static_cast<size_t>(images * blocks * 2 * pad)) : nullptr;
  const auto body = HWY_DYNAMIC_DISPATCH(LayerNormGradRows);
  ctx.pool.parallelFor(images * blocks, std::max<int64_t>(1, kGrainFloats / (kRows * C)), [&](int64_t b, int64_t e, int) {
    for (int64_t k = b; k < e; k++) {
      const int64_t image = k / blocks, r0 = k % blocks * kRows, at = (image * rows + r0) * C;
      const float* mod = m ? static_cast<const float*>(m->data) + (m->dims[0] > 1 ? image * m->dims[1] * C : 0) : nullptr;
      float* sums = part ? part + k * 2 * pad : nullptr;
      if (sums) std::fill(sums, sums + 2 * pad, 0.0f);
      body(x + at, dy + at, mod ? mod + p.scaleAt * C : nullptr, dx + at, std::min(kRows, rows - r0), C, p.eps, sums,
           sums ? sums + pad : nullptr);
    }
  });
  if (!dm) return {};
  float* to = static_cast<float*>(dm->data);
  ctx.pool.parallelFor(images, 1, [&](int64_t b, int64_t e, int) {
    for (int64_t i = b; i < e; i++) {
      float* rowsOf = to + (dm->dims[0] > 1 ? i * dm->dims[1] * C : 0);
      joinRows(part + i * blocks * 2 * pad, blocks, pad, C, rowsOf + p.scaleAt * C, rowsOf + p.shiftAt * C);
    }
  });
  return {};
}

Status group_norm_grad(Context& ctx, const NsCall& call, const op::group_norm_grad::Params& p) {
  namespace I = op::group_norm_grad::in;
  const NsTensor& t = call.in[I::x];
  const int64_t B = t.dims[0], P = t.dims[1] * t.dims[2], C = t.dims[3];
  if (p.groups < 1 || C % p.groups != 0)
    return failure(NS_INVALID, "[group_norm_grad] %lld channels, %d groups: does not divide", (long long)C, p.groups);
  if (count(t) == 0) return {};
  double* total = static_cast<double*>(ctx.shared.bytes(3, static_cast<size_t>(2 * C) * sizeof(double)));
  std::fill(total, total + 2 * C, 0.0);
  const int64_t step = std::clamp<int64_t>(kCacheFloats / (P * C), 1, B);
  for (int64_t b = 0; b < B; b += step) {
    const int64_t at = b * P * C;
    groupRound(ctx, {makeGroup(std::min(step, B - b), P, C, p.groups), in<float>(call, I::x) + at, in<float>(call, I::dy) + at,
                     in<float>(call, I::gamma), in<float>(call, I::beta), out<float>(call, 0) + at, p.eps, p.silu != 0, total});
  }
  for (int part = 0; part < 2; part++) {
    const NsTensor* to = input(call, part ? I::dBeta : I::dGamma);
    float* v = to ? static_cast<float*>(to->data) : nullptr;
    for (int64_t c = 0; v && c < C; c++) v[c] = static_cast<float>(v[c] + total[part * C + c]);
  }
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
