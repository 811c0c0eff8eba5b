// What the optimizers share: the numbers of one step, made on the device because gradient statistics and `dynamic` lie there.
#pragma once
#include <cmath>

#include "cuda/common/launch.h"
#include "cuda/ops/quad.h"

namespace ns::cuda {

struct Settings {
  float lr, weightDecay, step, invScale;  // in the order of `dynamic`
  float beta1, beta2, eps, maxNorm;
  bool decoupled;
};

// The f32 form of one step of Adam or SGD.
struct Step {
  float factor, decay, l2;     // of the gradient; decoupled decay of the parameter; decay that joins the gradient
  float b1, c1, b2, c2;        // betas and 1 - beta
  float size, rootCorrection;  // -lr / (1 - b1^step), sqrt(1 - b2^step)
  float eps, lr;
  int skip;
};

// Factor of the gradients; the step is skipped where stats (sum of squares, number of non-finite gradients) forbid it.
__device__ inline void clip(Step& s, const float* stats, float invScale, float maxNorm) {
  s.skip = 0;
  s.factor = invScale;
  if (!stats) return;
  if (!(stats[1] == 0.0f) || !(stats[0] >= 0.0f)) s.skip = 1;
  if (s.skip || !(maxNorm > 0.0f)) return;
  const double norm = sqrt(static_cast<double>(stats[0])) * static_cast<double>(invScale);
  const float limit = static_cast<float>(static_cast<double>(maxNorm) / (norm + 1e-6));
  if (limit < 1.0f) s.factor *= limit;
}

// A beta as the decimal of 7 places that was meant: 1 - 0.999f is off by 1.3e-5, and with it the moments that checkpoints carry.
__device__ inline double decimalBeta(float beta) { return round(static_cast<double>(beta) * 1e7) / 1e7; }

static __global__ void prepareStep(Settings o, const float* stats, const float* dynamic, Step* to) {
  if (dynamic) {
    o.lr = dynamic[0];
    o.weightDecay = dynamic[1];
    o.step = dynamic[2];
    o.invScale = dynamic[3];
  }
  const double b1 = decimalBeta(o.beta1), b2 = decimalBeta(o.beta2), lr = static_cast<double>(o.lr), step = static_cast<double>(o.step);
  Step s;
  clip(s, stats, o.invScale, o.maxNorm);
  s.decay = o.decoupled ? static_cast<float>(1.0 - lr * static_cast<double>(o.weightDecay)) : 1.0f;
  s.l2 = o.decoupled ? 0.0f : o.weightDecay;
  s.b1 = static_cast<float>(b1);
  s.c1 = static_cast<float>(1.0 - b1);
  s.b2 = static_cast<float>(b2);
  s.c2 = static_cast<float>(1.0 - b2);
  s.size = static_cast<float>(-lr / (1.0 - pow(b1, step)));
  s.rootCorrection = static_cast<float>(sqrt(1.0 - pow(b2, step)));
  s.eps = o.eps;
  s.lr = o.lr;
  *to = s;
}

// In scratch slot 0.
inline Status launchStep(const Context& ctx, const Settings& o, const float* stats, const float* dynamic, Step** step) {
  *step = ctx.scratch<Step>(0, 1);
  return launch(ctx, prepareStep, {dim3(1), dim3(1)}, o, stats, dynamic, *step);
}
inline const float* optional(const NsCall& call, int i) { return input(call, i) ? in<float>(call, i) : nullptr; }

template <class P>
Settings adamSettings(const P& p) {
  return {p.lr, p.weightDecay, static_cast<float>(p.step), p.invScale, p.beta1, p.beta2, p.eps, p.maxNorm, p.decoupled != 0};
}

__device__ inline void adam(const Step& s, float g, float& p, float& m, float& v) {
  g = fmaf(s.l2, p, g * s.factor);
  m = fmaf(s.c1, g, m * s.b1);
  v = fmaf(s.c2 * g, g, v * s.b2);
  p = fmaf(p, s.decay, s.size * m / (sqrtf(v) / s.rootCorrection + s.eps));
}

// A parameter with its gradient: `own` is what a step changes, the f32 master where there is one; `copy` the parameter that follows it.
struct Trained {
  Floats own, grad, copy;
};

inline Trained trained(const NsCall& call, int param, int grad, int master) {
  Trained t{floats(call.in[param], kQuad), floats(call.in[grad], kQuad), {nullptr, DType::f32, false}};
  if (const NsTensor* m = input(call, master)) {
    t.copy = t.own;
    t.own = floats(*m, kQuad);
  }
  return t;
}

}  // namespace ns::cuda
