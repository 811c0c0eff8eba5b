// cfg_mix, truncate_logits, multinomial, sample_cfg (the four steps fused per row) and gumbel_softmax.
// Floor: memory for single ops; sample_cfg reads 8 bytes per entry and writes one index per row, about 5 ns per entry and core.
// Layout: rows of V logits, [B,l,V]; guidance pairs image b with b + B. The fused op runs the same row functions on scratch.
// Top-k and top-p place the row in 1024 bins by value and look into the one bin where the cut falls: no sort of the row.
// Reference: VAR's sample_with_top_k_top_p_; counters of the draws: native/abi/random.h.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/sampling.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "native/cpu/context.h"
#include "native/cpu/sampling-inl.h"

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(SampleMix);
HWY_EXPORT(SampleStats);
HWY_EXPORT(SampleBins);
HWY_EXPORT(SampleCut);
HWY_EXPORT(SampleCollect);
HWY_EXPORT(SampleExp);
HWY_EXPORT(SampleSoftmax);
HWY_EXPORT(GumbelRow);

namespace {

size_t padded(int64_t V) { return static_cast<size_t>((V + 63) / 64 * 64); }

size_t sampleBytes(int64_t V) { return padded(V) * 16 + (kSampleBins + 1) * (sizeof(uint32_t) + sizeof(double)); }

SampleRow sampleRow(void* base, int64_t V) {
  const size_t n = padded(V);
  char* p = static_cast<char*>(base);
  SampleRow r;
  r.logits = reinterpret_cast<float*>(p);
  r.weights = reinterpret_cast<float*>(p + n * 4);
  r.bins = reinterpret_cast<int32_t*>(p + n * 8);
  r.picked = reinterpret_cast<int32_t*>(p + n * 12);
  r.masses = reinterpret_cast<double*>(p + n * 16);
  r.counts = reinterpret_cast<uint32_t*>(r.masses + kSampleBins + 1);
  return r;
}

float binScale(float least, float most) {
  const float scale = static_cast<float>(kSampleBins - 1) / (most - least);
  return std::isfinite(scale) ? scale : 0.0f;
}

// The k-th largest value; k is below the number of finite values.
float kthLargest(const SampleRow& r, int64_t V, int64_t k) {
  std::fill(r.counts, r.counts + kSampleBins + 1, 0u);
  for (int64_t i = 0; i < V; i++) r.counts[r.bins[i]]++;
  int bin = kSampleBins;
  for (; bin > 1 && k > r.counts[bin]; bin--) k -= r.counts[bin];
  const int64_t n = HWY_DYNAMIC_DISPATCH(SampleCollect)(r.logits, r.bins, V, bin, r.picked);
  int32_t* at = r.picked + (k - 1);
  std::nth_element(r.picked, at, r.picked + n, [&](int32_t a, int32_t b) { return r.logits[a] > r.logits[b]; });
  return r.logits[*at];
}

// The first entry in ascending order (of value, then index) that top-p keeps.
int64_t firstKept(const SampleRow& r, int64_t V, float top, float p) {
  // What top-k has removed weighs nothing.
  std::fill(r.masses, r.masses + kSampleBins + 1, 0.0);
  for (int64_t i = 0; i < V; i++) r.masses[r.bins[i]] += r.weights[i];
  double total = 0, sum = 0;
  for (int b = 1; b <= kSampleBins; b++) total += r.masses[b];
  const double limit = (1.0 - static_cast<double>(p)) * total;
  for (int b = 1; b <= kSampleBins; b++) {
    if (sum + r.masses[b] <= limit) {
      sum += r.masses[b];
      continue;
    }
    const int64_t n = HWY_DYNAMIC_DISPATCH(SampleCollect)(r.logits, r.bins, V, b, r.picked);
    std::sort(r.picked, r.picked + n, [&](int32_t x, int32_t y) { return r.logits[x] != r.logits[y] ? r.logits[x] < r.logits[y] : x < y; });
    for (int64_t i = 0; i < n; i++) {
      sum += r.weights[r.picked[i]];
      if (sum > limit) return r.picked[i];
    }
  }
  int64_t last = V - 1;
  while (last > 0 && r.logits[last] != top) last--;
  return last;
}

}  // namespace

bool truncateRow(const SampleRow& r, int64_t V, int32_t k, float p) {
  RowStats s;
  HWY_DYNAMIC_DISPATCH(SampleStats)(r.logits, V, &s);
  if (s.hasBad) return false;
  const bool topK = k > 0 && k<s.finite, topP = p> 0 && s.finite > 0;
  if (!topK && !topP) return true;
  HWY_DYNAMIC_DISPATCH(SampleBins)(r.logits, V, s.least, binScale(s.least, s.most), r.bins);
  if (topK) {
    const float kth = kthLargest(r, V, k);
    HWY_DYNAMIC_DISPATCH(SampleCut)(r.logits, V, kth, 0);
  }
  if (topP) {
    HWY_DYNAMIC_DISPATCH(SampleExp)(r.logits, r.weights, V, s.most);
    const int64_t at = firstKept(r, V, s.most, p);
    HWY_DYNAMIC_DISPATCH(SampleCut)(r.logits, V, r.logits[at], at);
  }
  return true;
}

int64_t drawRow(const float* probs, int64_t V, double u) {
  constexpr int64_t kBlock = 64, kLanes = 8;
  const auto blockSum = [&](int64_t b) {
    const float* p = probs + b * kBlock;
    const int64_t n = std::min(kBlock, V - b * kBlock);
    double a[kLanes] = {};
    int64_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      for (int64_t j = 0; j < kLanes; j++) a[j] += p[i + j];
    }
    for (; i < n; i++) a[i % kLanes] += p[i];
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
  };
  bool negative = false;
  for (int64_t i = 0; i < V; i++) negative |= probs[i] < 0;
  const int64_t blocks = (V + kBlock - 1) / kBlock;
  double total = 0;
  for (int64_t b = 0; b < blocks; b++) total += blockSum(b);
  if (negative || !(total > 0) || !std::isfinite(total)) return -1;
  const double target = u * total;
  double sum = 0;
  int64_t last = -1;
  for (int64_t b = 0; b < blocks; b++) {
    const double s = blockSum(b);
    if (sum + s > target || b + 1 == blocks) {
      double c = sum;
      for (int64_t i = b * kBlock; i < std::min(V, (b + 1) * kBlock); i++) {
        c += probs[i];
        if (probs[i] > 0) last = i;
        if (c > target && last == i) return i;
      }
      if (last >= 0) return last;
    }
    sum += s;
  }
  // Rounding at the very end of the row: the last entry that can be drawn.
  for (last = V - 1; last > 0 && !(probs[last] > 0);) last--;
  return last;
}

namespace {

struct Rows {
  int64_t B, l, V;
  int64_t grain() const { return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, V)); }
};

// The lowest row a thread has found fault with.
struct FirstBad {
  std::atomic<int64_t> row{INT64_MAX};
  void note(int64_t r) {
    int64_t seen = row.load(std::memory_order_relaxed);
    while (r < seen && !row.compare_exchange_weak(seen, r, std::memory_order_relaxed)) {
    }
  }
  Status status(const char* op, const Rows& s, const char* what) const {
    const int64_t r = row.load();
    if (r == INT64_MAX) return {};
    return failure(NS_INVALID, "[%s] row %lld of [%lld,%lld,%lld] (image %lld, token %lld) %s", op, (long long)r, (long long)s.B,
                   (long long)s.l, (long long)s.V, (long long)(r / s.l), (long long)(r % s.l), what);
  }
};

double uniformOf(const int32_t* seed, int64_t token, int32_t scale) {
  const Philox counter = {{static_cast<uint32_t>(token), static_cast<uint32_t>(scale), static_cast<uint32_t>(seed[2]), kPhiloxMultinomial}};
  return philoxUniform(philox(static_cast<uint32_t>(seed[0]), static_cast<uint32_t>(seed[1]), counter).w[0]);
}

constexpr const char* kBadLogits = "holds NaN or +inf, or no finite logit";

}  // namespace

namespace kernels {

Status cfg_mix(Context& ctx, const NsCall& call, const op::cfg_mix::Params&) {
  const NsTensor& o = call.out[0];
  const Rows s = {o.dims[0], o.dims[1], o.dims[2]};
  if (count(o) == 0) return {};
  const float* x = in<float>(call, 0);
  const float* t = in<float>(call, 1);
  float* y = out<float>(call, 0);
  const auto mix = HWY_DYNAMIC_DISPATCH(SampleMix);
  ctx.pool.parallelFor(s.B * s.l, s.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t r = b; r < e; r++) mix(x + r * s.V, x + (r + s.B * s.l) * s.V, t[r / s.l], y + r * s.V, s.V);
  });
  return {};
}

Status truncate_logits(Context& ctx, const NsCall& call, const op::truncate_logits::Params&) {
  const NsTensor& x = call.in[0];
  const Rows s = {x.dims[0], x.dims[1], x.dims[2]};
  if (count(x) == 0) return {};
  const int32_t* k = in<int32_t>(call, 1);
  const float* p = in<float>(call, 2);
  for (int i = 0; i < ctx.pool.threads(); i++) ctx.perThread[i].bytes(0, sampleBytes(s.V));
  FirstBad bad;
  ctx.pool.parallelFor(s.B * s.l, s.grain(), [&](int64_t b, int64_t e, int thread) {
    const SampleRow row = sampleRow(ctx.perThread[thread].bytes(0, sampleBytes(s.V)), s.V);
    for (int64_t r = b; r < e; r++) {
      std::memcpy(row.logits, in<float>(call, 0) + r * s.V, static_cast<size_t>(s.V) * 4);
      if (!truncateRow(row, s.V, k[r / s.l], p[r / s.l])) bad.note(r);
      std::memcpy(out<float>(call, 0) + r * s.V, row.logits, static_cast<size_t>(s.V) * 4);
    }
  });
  return bad.status("truncate_logits", s, "holds NaN or +inf");
}

Status multinomial(Context& ctx, const NsCall& call, const op::multinomial::Params& p) {
  const NsTensor& x = call.in[0];
  const Rows s = {x.dims[0], x.dims[1], x.dims[2]};
  if (s.B * s.l == 0) return {};
  const float* probs = in<float>(call, 0);
  const int32_t* seed = in<int32_t>(call, 1);
  int32_t* idx = out<int32_t>(call, 0);
  FirstBad bad;
  ctx.pool.parallelFor(s.B * s.l, s.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t r = b; r < e; r++) {
      const int64_t v = drawRow(probs + r * s.V, s.V, uniformOf(seed + r / s.l * 3, r % s.l, p.scale));
      if (v < 0) bad.note(r);
      idx[r] = static_cast<int32_t>(std::max<int64_t>(v, 0));
    }
  });
  return bad.status("multinomial", s, "is no distribution: negative, NaN, infinite or all zero");
}

Status sample_cfg(Context& ctx, const NsCall& call, const op::sample_cfg::Params& p) {
  const NsTensor& x = call.in[0];
  const Rows s = {x.dims[0] / 2, x.dims[1], x.dims[2]};
  if (s.B * s.l == 0) return {};
  const float* logits = in<float>(call, 0);
  const float* t = in<float>(call, 1);
  const int32_t* k = in<int32_t>(call, 2);
  const float* topP = in<float>(call, 3);
  const int32_t* seed = in<int32_t>(call, 4);
  int32_t* idx = out<int32_t>(call, 0);
  for (int i = 0; i < ctx.pool.threads(); i++) ctx.perThread[i].bytes(0, sampleBytes(s.V));
  FirstBad bad;
  ctx.pool.parallelFor(s.B * s.l, s.grain(), [&](int64_t b, int64_t e, int thread) {
    const SampleRow row = sampleRow(ctx.perThread[thread].bytes(0, sampleBytes(s.V)), s.V);
    for (int64_t r = b; r < e; r++) {
      const int64_t image = r / s.l;
      HWY_DYNAMIC_DISPATCH(SampleMix)(logits + r * s.V, logits + (r + s.B * s.l) * s.V, t[image], row.logits, s.V);
      int64_t v = -1;
      if (truncateRow(row, s.V, k[image], topP[image])) {
        HWY_DYNAMIC_DISPATCH(SampleSoftmax)(row.logits, row.weights, s.V);
        v = drawRow(row.weights, s.V, uniformOf(seed + image * 3, r % s.l, p.scale));
      }
      if (v < 0) bad.note(r);
      idx[r] = static_cast<int32_t>(std::max<int64_t>(v, 0));
    }
  });
  return bad.status("sample_cfg", s, kBadLogits);
}

Status gumbel_softmax(Context& ctx, const NsCall& call, const op::gumbel_softmax::Params& p) {
  const NsTensor& x = call.in[0];
  const Rows s = {x.dims[0], x.dims[1], x.dims[2]};
  const NsTensor* noise = input(call, 1);
  const NsTensor* seeds = input(call, 2);
  if (!noise && !seeds) return failure(NS_INVALID, "[gumbel_softmax] needs gumbel or seed");
  if (!(p.tau > 0)) return failure(NS_INVALID, "[gumbel_softmax] tau is %g, accepted: above 0", static_cast<double>(p.tau));
  if (count(x) == 0) return {};
  FirstBad bad;
  ctx.pool.parallelFor(s.B * s.l, s.grain(), [&](int64_t b, int64_t e, int) {
    for (int64_t r = b; r < e; r++) {
      PhiloxStream stream = {};
      if (!noise) {
        const int32_t* seed = static_cast<const int32_t*>(seeds->data) + r / s.l * 3;
        stream = {static_cast<uint32_t>(seed[0]), static_cast<uint32_t>(seed[1]), true,         static_cast<uint32_t>(r % s.l),
                  static_cast<uint32_t>(p.scale), static_cast<uint32_t>(seed[2]), kPhiloxGumbel};
      }
      const float* g = noise ? static_cast<const float*>(noise->data) + r * s.V : nullptr;
      const float sum =
          HWY_DYNAMIC_DISPATCH(GumbelRow)(in<float>(call, 0) + r * s.V, g, stream, p.mul, p.tau, out<float>(call, 0) + r * s.V, s.V);
      if (!(sum > 0) || !std::isfinite(sum)) bad.note(r);
    }
  });
  return bad.status("gumbel_softmax", s, kBadLogits);
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
