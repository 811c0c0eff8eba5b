// random: uniform, normal and truncated normal numbers from Philox; element i depends on (seed, stream, i) alone.
// Floor: 4 bytes written per element. Normal: mean + std * sqrt(2) * erfinv(2 u - 1); truncated: the same after u is mapped to
// [cdf(-2), cdf(2)], as nn.init.trunc_normal_ does. Reference: erfinv in f32 by M. Giles (GPU Computing Gems 2, 2011); counters: philox.h.
#include <cmath>
#include <limits>

#include "cuda/common/launch.h"
#include "cuda/common/philox.h"

namespace ns::cuda {

namespace {

// v = from + u * span, then the value itself or add + mul * erfinv(v), clamped to [lo, hi].
struct RandomPlan {
  double from, span;
  bool inverse;
  float mul, add, lo, hi;
  uint32_t key0, key1, stream;
};

// erfinv(t), where rest = 1 - |t| carries the bits that t has lost near one. Relative error below 4e-7.
__device__ inline float inverseErf(float t, float rest) {
  const float w = -logf(rest * (2.0f - rest));
  float p;
  if (w < 5.0f) {
    const float a = w - 2.5f;
    p = 2.81022636e-08f;
    p = fmaf(p, a, 3.43273939e-07f);
    p = fmaf(p, a, -3.5233877e-06f);
    p = fmaf(p, a, -4.39150654e-06f);
    p = fmaf(p, a, 0.00021858087f);
    p = fmaf(p, a, -0.00125372503f);
    p = fmaf(p, a, -0.00417768164f);
    p = fmaf(p, a, 0.246640727f);
    p = fmaf(p, a, 1.50140941f);
  } else {
    const float b = sqrtf(w) - 3.0f;
    p = -0.000200214257f;
    p = fmaf(p, b, 0.000100950558f);
    p = fmaf(p, b, 0.00134934322f);
    p = fmaf(p, b, -0.00367342844f);
    p = fmaf(p, b, 0.00573950773f);
    p = fmaf(p, b, -0.0076224613f);
    p = fmaf(p, b, 0.00943887047f);
    p = fmaf(p, b, 1.00167406f);
    p = fmaf(p, b, 2.83297682f);
  }
  return t * p;
}

__global__ void randomKernel(RandomPlan plan, float* y, int64_t n) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x, blocks = (n + 3) / 4;
  for (int64_t q = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; q < blocks; q += step) {
    const Philox words =
        philox(plan.key0, plan.key1, {{static_cast<uint32_t>(q), static_cast<uint32_t>(q >> 32), plan.stream, kPhiloxRandom}});
    for (int j = 0; j < 4 && q * 4 + j < n; j++) {
      const double v = fma(philoxUniform(words.w[j]), plan.span, plan.from);
      float r = static_cast<float>(v);
      if (plan.inverse) r = fmaf(inverseErf(r, fmaxf(static_cast<float>(1.0 - fabs(v)), 1e-30f)), plan.mul, plan.add);
      y[q * 4 + j] = fminf(fmaxf(r, plan.lo), plan.hi);
    }
  }
}

}  // namespace

namespace ops {

Status random(const Context& ctx, const NsCall& call, const op::random::Params& p) {
  using Kind = op::random::Kind;
  const double mean = p.mean, std = p.std, root2 = 1.4142135623730951;
  constexpr float inf = std::numeric_limits<float>::infinity();
  RandomPlan plan = {};
  plan.key0 = static_cast<uint32_t>(p.seedLo);
  plan.key1 = static_cast<uint32_t>(p.seedHi);
  plan.stream = static_cast<uint32_t>(p.stream);
  plan.lo = -inf;
  plan.hi = inf;
  plan.mul = static_cast<float>(std * root2);
  plan.add = p.mean;
  plan.inverse = p.kind != Kind::uniform;
  if (p.kind == Kind::uniform) {
    if (!(p.mean <= p.std)) return failure(NS_INVALID, "[random] uniform: lo %g is above hi %g", mean, std);
    plan.from = mean;
    plan.span = std - mean;
    plan.lo = p.mean;
    plan.hi = std::nextafter(p.std, p.mean);
  } else if (p.kind == Kind::normal) {
    plan.from = -1;
    plan.span = 2;
  } else {
    if (!(p.std > 0) || std::abs(mean) > 2)
      return failure(NS_INVALID, "[random] trunc_normal: mean %g must lie in [-2, 2], std %g above 0", mean, std);
    plan.from = std::erf((-2 - mean) / (std * root2));
    plan.span = std::erf((2 - mean) / (std * root2)) - plan.from;
    plan.lo = -2;
    plan.hi = 2;
  }
  const int64_t n = count(call.out[0]);
  return launch(ctx, &randomKernel, {gridFor(ctx, divUp(divUp(n, 4), 256)), dim3(256)}, plan, out<float>(call, 0), n);
}

}  // namespace ops
}  // namespace ns::cuda
