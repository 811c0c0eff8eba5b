// vq_lookup: index of the nearest code of every vector.
// Floor: 2 * N * V * C FLOPs; bytes: vectors and codes once, the packed codes once per 48 vectors from cache. The N x V distances exist as
// tiles of 6 x 64 only. |z|^2 is the same for all codes and left out: |e|^2 - 2 z.e orders them alike and rounds less.
// Layout: z [N,C], codebook [V,C]; packed into panels of two SIMD vectors of codes, [V / 2L][C][2L].
// Reference: VectorQuantizer2.forward and f_to_idxBl_or_fhat of VAR (squared distance, or cosine of normalised vectors).
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/vq.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>

#include "native/cpu/attention-inl.h"
#include "native/cpu/context.h"
#include "native/cpu/vq.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Codes [v0, v0 + n), n <= 64: panels and what is added to mul * z.e (infinite behind the last code).
void VqPackBlock(const float* codes, int64_t n, int64_t C, bool cosine, float* tmp, float* panels, float* bias) {
  const AttF d;
  const int64_t N = AttLanes(), P = 2 * N;
  const float* rows[kAttKeys];
  for (int64_t j = 0; j < n; j++) {
    rows[j] = codes + j * C;
    if (!cosine) continue;
    AttNormalize(rows[j], tmp + (j + 1) * C, C);
    rows[j] = tmp + (j + 1) * C;
  }
  std::fill(tmp, tmp + C, 0.0f);
  AttPackKeys(rows, n, C, tmp, panels);
  for (int64_t j = 0; j < kAttKeys; j += N) {
    AttV sum = hn::Zero(d);
    if (!cosine && j < AttRoundUp(n, P)) {
      const float* p = panels + j / P * C * P + j % P;
      for (int64_t i = 0; i < C; i++) {
        const AttV e = hn::LoadU(d, p + i * P);
        sum = hn::MulAdd(e, e, sum);
      }
    }
    hn::StoreU(sum, d, bias + j);
  }
  for (int64_t j = n; j < kAttKeys; j++) bias[j] = std::numeric_limits<float>::infinity();
}

// Takes the smallest mul * s + bias of 64 codes if it is below *best, with the first code that has it.
HWY_INLINE void VqMin(const float* s, const float* bias, float mul, int32_t code, float* best, int32_t* at) {
  const AttF d;
  const int64_t N = AttLanes();
  const AttV m = hn::Set(d, mul);
  AttV low = hn::Set(d, *best);
  for (int64_t j = 0; j < kAttKeys; j += N) low = hn::Min(hn::MulAdd(m, hn::LoadU(d, s + j), hn::LoadU(d, bias + j)), low);
  if (hn::AllFalse(d, hn::Lt(low, hn::Set(d, *best)))) return;
  *best = hn::GetLane(hn::MinOfLanes(d, low));
  const AttV value = hn::Set(d, *best);
  for (int64_t j = 0; j < kAttKeys; j += N) {
    const auto found = hn::FindFirstTrue(d, hn::Eq(hn::MulAdd(m, hn::LoadU(d, s + j), hn::LoadU(d, bias + j)), value));
    if (found < 0) continue;
    *at = code + static_cast<int32_t>(j + found);
    return;
  }
}

// Rows [0, n), n <= kVqRows, against all codes.
void VqRows(const VqPlan& plan, const float* z, int64_t n, float* scratch, int32_t* idx) {
  const int64_t C = plan.C, padded = AttRoundUp(n, kAttRows);
  float* q = scratch;
  float* tmp = q + kVqRows * C;
  float* s = tmp + AttRoundUp(C, 16);
  float best[kVqRows];
  int32_t at[kVqRows] = {};
  for (int64_t r = 0; r < padded; r++) {
    const float* from = z + std::min(r, n - 1) * C;
    if (plan.cosine) {
      AttNormalize(from, tmp, C);
      from = tmp;
    }
    float* to = q + r / kAttRows * kAttRows * C + r % kAttRows;
    for (int64_t i = 0; i < C; i++) to[i * kAttRows] = from[i];
  }
  std::fill(best, best + kVqRows, std::numeric_limits<float>::infinity());
  std::fill(s, s + kAttRows * kAttKeys, 0.0f);
  for (int64_t v = 0; v < plan.V; v += kAttKeys) {
    for (int64_t r = 0; r < padded; r += kAttRows) {
      AttScores(q + r * C, plan.panels + v * C, C, std::min(kAttKeys, plan.V - v), s);
      for (int64_t k = 0; k < kAttRows; k++) {
        VqMin(s + k * kAttKeys, plan.bias + v, plan.cosine ? -1.0f : -2.0f, static_cast<int32_t>(v), best + r + k, at + r + k);
      }
    }
  }
  std::copy(at, at + n, idx);
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(VqPackBlock);
HWY_EXPORT(VqRows);

namespace kernels {

Status vq_lookup(Context& ctx, const NsCall& call, const op::vq_lookup::Params& p) {
  const NsTensor& zt = call.in[0];
  const NsTensor& codes = call.in[1];
  const int64_t n = zt.dims[0], C = zt.dims[1], V = codes.dims[0];
  if (codes.dims[1] != C || V < 1 || V > INT32_MAX - kAttKeys) {
    return failure(NS_INVALID, "[vq_lookup] z is [%lld,%lld], codebook is [%lld,%lld]", (long long)n, (long long)C, (long long)V,
                   (long long)codes.dims[1]);
  }
  if (n == 0) return {};
  const int64_t blocks = (V + kAttKeys - 1) / kAttKeys;
  const size_t need = static_cast<size_t>((kAttKeys + kVqRows + 2) * (C + 16) + kAttRows * kAttKeys);
  float* panels = ctx.shared.floats(0, static_cast<size_t>(blocks * kAttKeys * C));
  float* bias = ctx.shared.floats(1, static_cast<size_t>(blocks * kAttKeys));
  for (int i = 0; i < ctx.pool.threads(); i++) ctx.perThread[i].floats(0, need);
  const float* e = in<float>(call, 1);
  const auto pack = HWY_DYNAMIC_DISPATCH(VqPackBlock);
  ctx.pool.parallelFor(blocks, 8, [&](int64_t b, int64_t end, int thread) {
    for (int64_t k = b; k < end; k++) {
      const int64_t v = k * kAttKeys;
      pack(e + v * C, std::min(kAttKeys, V - v), C, p.cosine != 0, ctx.perThread[thread].floats(0, need), panels + v * C, bias + v);
    }
  });
  const VqPlan plan = {panels, bias, V, C, p.cosine != 0};
  const float* z = in<float>(call, 0);
  int32_t* idx = out<int32_t>(call, 0);
  const auto rows = HWY_DYNAMIC_DISPATCH(VqRows);
  ctx.pool.parallelFor(n, kVqRows, [&](int64_t b, int64_t end, int thread) {
    rows(plan, z + b * C, end - b, ctx.perThread[thread].floats(0, need), idx + b);
  });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
