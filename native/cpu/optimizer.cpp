// grad_stats, adamw, sgd: one pass over flat ranges of parameters.
// Floor: bound by memory: grad_stats 4 bytes per element, adamw 28 (p, m, v read and written, g read), sgd 20 with velocity, in f32; 16-bit
// parameters and gradients take 2 bytes each way and 8 for the f32 master.
// Layout: flat. Every element is on its own in adamw and sgd; grad_stats sums in f64 over blocks of 16384 elements that start with their
// segment and are joined in order: no result depends on the thread count.
// Reference: torch.optim.AdamW, Adam and SGD (single tensor), torch.nn.utils.clip_grad_norm_.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/optimizer.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/optimizer-inl.h"
#include "native/cpu/optimizer.h"
#include "native/cpu/simd_loop-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// Adds the squares of the finite values to *sum and the number of the others to *bad.
void SquareSum(const float* x, int64_t n, double* sum, int64_t* bad) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> df;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  auto s0 = hn::Zero(d), s1 = s0;
  int64_t finite = 0;
  const auto square = [&](hn::Vec<decltype(df)> v) {
    const auto ok = hn::IsFinite(v);
    finite += static_cast<int64_t>(hn::CountTrue(df, ok));
    const auto w = hn::PromoteTo(d, hn::IfThenElseZero(ok, v));
    return hn::Mul(w, w);
  };
  int64_t i = 0;
  for (; i + 2 * N <= n; i += 2 * N) {
    s0 = hn::Add(s0, square(hn::LoadU(df, x + i)));
    s1 = hn::Add(s1, square(hn::LoadU(df, x + i + N)));
  }
  for (; i + N <= n; i += N) s0 = hn::Add(s0, square(hn::LoadU(df, x + i)));
  int64_t padding = 0;
  if (hn::MaxLanes(d) > 1 && i < n) {
    s0 = hn::Add(s0, square(LoadPart(df, x + i, static_cast<size_t>(n - i), 0.0f)));
    padding = N - (n - i);
  }
  *sum += hn::GetLane(hn::SumOfLanes(d, hn::Add(s0, s1)));
  *bad += n + padding - finite;
}

void AdamRow(const AdamStep& step, float* p, const float* g, float* m, float* v, int64_t n) {
  const F32 d;
  const AdamStep s = step;
  using V = hn::Vec<F32>;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    V vp = hn::LoadU(d, p + i), vm = hn::LoadU(d, m + i), vv = hn::LoadU(d, v + i);
    AdamVector(d, s, hn::LoadU(d, g + i), vp, vm, vv);
    hn::StoreU(vp, d, p + i);
    hn::StoreU(vm, d, m + i);
    hn::StoreU(vv, d, v + i);
  }
  if (hn::MaxLanes(d) == 1 || i == n) return;
  const size_t r = static_cast<size_t>(n - i);
  V vp = LoadPart(d, p + i, r, 0.0f), vm = LoadPart(d, m + i, r, 0.0f), vv = LoadPart(d, v + i, r, 0.0f);
  AdamVector(d, s, LoadPart(d, g + i, r, 0.0f), vp, vm, vv);
  StorePart(d, vp, p + i, r);
  StorePart(d, vm, m + i, r);
  StorePart(d, vv, v + i, r);
}

// velocity nullptr: plain descent.
void SgdRow(const op::sgd::Params& o, float factor, float* p, const float* g, float* velocity, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  const V f = hn::Set(d, factor), decay = hn::Set(d, o.weightDecay), momentum = hn::Set(d, o.momentum), lr = hn::Set(d, o.lr);
  const auto step = [&](V vg, V& vp, V& vel) {
    vg = hn::MulAdd(decay, vp, hn::Mul(vg, f));
    vel = hn::Add(hn::Mul(momentum, vel), vg);
    vp = hn::NegMulAdd(lr, o.nesterov ? hn::MulAdd(momentum, vel, vg) : vel, vp);
  };
  int64_t i = 0;
  for (; i + N <= n; i += N) {
    V vp = hn::LoadU(d, p + i), vel = velocity ? hn::LoadU(d, velocity + i) : hn::Zero(d);
    step(hn::LoadU(d, g + i), vp, vel);
    hn::StoreU(vp, d, p + i);
    if (velocity) hn::StoreU(vel, d, velocity + i);
  }
  if (hn::MaxLanes(d) == 1 || i == n) return;
  const size_t r = static_cast<size_t>(n - i);
  V vp = LoadPart(d, p + i, r, 0.0f), vel = velocity ? LoadPart(d, velocity + i, r, 0.0f) : hn::Zero(d);
  step(LoadPart(d, g + i, r, 0.0f), vp, vel);
  StorePart(d, vp, p + i, r);
  if (velocity) StorePart(d, vel, velocity + i, r);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <algorithm>
#include <vector>

namespace ns::cpu {
HWY_EXPORT(SquareSum);
HWY_EXPORT(AdamRow);
HWY_EXPORT(SgdRow);

namespace {
constexpr int64_t kBlock = 16384;

struct Partial {
  double sum;
  int64_t bad;
};

// Elements [from, to) of g, by way of f32 where they are narrower.
Partial squareBlock(DType type, const char* g, int64_t from, int64_t to) {
  Partial p{0, 0};
  if (type == DType::f32) {
    HWY_DYNAMIC_DISPATCH(SquareSum)(reinterpret_cast<const float*>(g) + from, to - from, &p.sum, &p.bad);
    return p;
  }
  alignas(64) float wide[kOptimizerChunk];
  for (int64_t at = from; at < to; at += kOptimizerChunk) {
    const int64_t n = to - at < kOptimizerChunk ? to - at : kOptimizerChunk;
    castRow(type, DType::f32, g + at * static_cast<int64_t>(dtypeSize(type)), wide, n);
    HWY_DYNAMIC_DISPATCH(SquareSum)(wide, n, &p.sum, &p.bad);
  }
  return p;
}

Status checkOffsets(const int32_t* offsets, int64_t segments, int64_t n) {
  for (int64_t i = 0; i <= segments; i++) {
    const int32_t least = i ? offsets[i - 1] : 0;
    if (offsets[i] >= least && offsets[i] <= n) continue;
    return failure(NS_INDEX, "[grad_stats] offsets[%lld] is %d, accepted: %d to %lld", static_cast<long long>(i), offsets[i], least,
                   static_cast<long long>(n));
  }
  return {};
}
}  // namespace

namespace kernels {

Status grad_stats(Context& ctx, const NsCall& call, const op::grad_stats::Params&) {
  using In = op::grad_stats::in::Index;
  const DType type = dtype(call.in[In::g]);
  const char* g = in<char>(call, In::g);
  const int32_t* offsets = in<int32_t>(call, In::offsets);
  const int64_t segments = count(call.in[In::offsets]) - 1;
  float* stats = out<float>(call, 0);
  if (Status s = checkOffsets(offsets, segments, count(call.in[In::g])); !s.ok()) return s;
  std::vector<int64_t> first(1, 0);  // first block of each segment
  for (int64_t i = 0; i < segments; i++) first.push_back(first.back() + (int64_t{offsets[i + 1]} - offsets[i] + kBlock - 1) / kBlock);
  Partial* parts = static_cast<Partial*>(ctx.shared.bytes(0, static_cast<size_t>(first.back()) * sizeof(Partial)));
  ctx.pool.parallelFor(first.back(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t b = begin; b < end; b++) {
      const int64_t segment = std::upper_bound(first.begin(), first.end(), b) - first.begin() - 1;
      const int64_t from = offsets[segment] + (b - first[static_cast<size_t>(segment)]) * kBlock;
      parts[b] = squareBlock(type, g, from, std::min<int64_t>(from + kBlock, offsets[segment + 1]));
    }
  });
  for (int64_t i = 0; i < segments; i++) {
    Partial total{0, 0};
    for (int64_t b = first[static_cast<size_t>(i)]; b < first[static_cast<size_t>(i) + 1]; b++) {
      total.sum += parts[b].sum;
      total.bad += parts[b].bad;
    }
    stats[2 * i] = static_cast<float>(total.sum);
    stats[2 * i + 1] = static_cast<float>(total.bad);
  }
  return {};
}

Status adamw(Context& ctx, const NsCall& call, const op::adamw::Params& given) {
  using In = op::adamw::in::Index;
  const op::adamw::Params p = withDynamic(given, call, In::dynamic);
  const float* stats = input(call, In::stats) ? in<float>(call, In::stats) : nullptr;
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[adamw] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  const Clip clip = clipOf(stats, p.invScale, p.maxNorm);
  if (clip.skip) return {};
  const AdamStep step = adamStepOf(p, stepOf(p, call, In::dynamic), clip.factor);
  const Trained trained(call, In::param, In::grad, In::master);
  float *m = mut<float>(call, In::m), *v = mut<float>(call, In::v);
  const auto row = HWY_DYNAMIC_DISPATCH(AdamRow);
  ctx.pool.parallelFor(count(call.in[In::param]), kOptimizerGrain, [&](int64_t begin, int64_t end, int) {
    trained.each(begin, end, [&](float* x, const float* g, int64_t at, int64_t n) { row(step, x, g, m + at, v + at, n); });
  });
  return {};
}

Status sgd(Context& ctx, const NsCall& call, const op::sgd::Params& given) {
  using In = op::sgd::in::Index;
  const op::sgd::Params p = withDynamic(given, call, In::dynamic);
  const float* stats = input(call, In::stats) ? in<float>(call, In::stats) : nullptr;
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[sgd] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  float* velocity = input(call, In::velocity) ? mut<float>(call, In::velocity) : nullptr;
  if (p.momentum > 0 && !velocity)
    return failure(NS_INVALID, "[sgd] momentum is %g, but velocity is missing", static_cast<double>(p.momentum));
  const Clip clip = clipOf(stats, p.invScale, p.maxNorm);
  if (clip.skip) return {};
  const Trained trained(call, In::param, In::grad, In::master);
  const auto row = HWY_DYNAMIC_DISPATCH(SgdRow);
  ctx.pool.parallelFor(count(call.in[In::param]), kOptimizerGrain, [&](int64_t begin, int64_t end, int) {
    trained.each(begin, end, [&](float* x, const float* g, int64_t at, int64_t n) {
      row(p, clip.factor, x, g, velocity ? velocity + at : nullptr, n);
    });
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
