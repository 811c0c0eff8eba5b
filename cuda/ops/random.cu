// random: uniform, normal and truncated normal numbers from Philox; element i depends on (seed, stream, i) alone.
// Floor: 4 bytes written per element. Normal: mean + std * sqrt(2) * erfinv(2 u - 1); truncated: the same after u is mapped to
// [cdf(-2), cdf(2)], as nn.init.trunc_normal_ does. Reference: erfinv in f32 by M. Giles (GPU Computing Gems 2, 2011); counters:
// native/abi/random.h.
#include "cuda/common/launch.h"
#include "native/abi/random.h"

namespace ns::cuda {

namespace {

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
  RandomPlan plan;
  if (Status s = planRandom(p, &plan); !s.ok()) return s;
  const int64_t n = count(call.out[0]);
  return launch(ctx, &randomKernel, {gridFor(ctx, divUp(divUp(n, 4), 256)), dim3(256)}, plan, out<float>(call, 0), n);
}

}  // namespace ops
}  // namespace ns::cuda
