// What the optimizer kernels share: constants of one step, unscaling and clipping, and 16-bit parameters and gradients in chunks.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#include "native/cpu/cast.h"
#include "native/cpu/context.h"

namespace ns::cpu {

constexpr int64_t kOptimizerGrain = 16384;  // elements a thread takes at a time
constexpr int64_t kOptimizerChunk = 1024;   // elements between conversions: the copies stay in L1

// Factor of the gradients; skip where stats (sum of squares, number of non-finite gradients) forbid the step.
struct Clip {
  bool skip = false;
  float factor = 1;
};

inline Clip clipOf(const float* stats, float invScale, float maxNorm) {
  Clip c;
  c.factor = invScale;
  if (!stats) return c;
  if (!(stats[1] == 0.0f) || !(stats[0] >= 0.0f)) c.skip = true;
  if (c.skip || !(maxNorm > 0)) return c;
  const double norm = std::sqrt(static_cast<double>(stats[0])) * invScale;
  const float limit = static_cast<float>(maxNorm / (norm + 1e-6));
  if (limit < 1.0f) c.factor *= limit;
  return c;
}

// dynamic, where given, holds lr, weightDecay, step and invScale instead of the attributes.
template <class P>
P withDynamic(P p, const NsCall& call, int index) {
  const float* d = input(call, index) ? in<float>(call, index) : nullptr;
  if (!d) return p;
  p.lr = d[0];
  p.weightDecay = d[1];
  p.invScale = d[3];
  return p;
}
// The step as the power of the betas takes it.
template <class P>
double stepOf(const P& p, const NsCall& call, int index) {
  return input(call, index) ? static_cast<double>(in<float>(call, index)[2]) : static_cast<double>(p.step);
}

// The f32 form of one Adam step.
struct AdamStep {
  float factor, decay, l2;     // of the gradient; decoupled decay of the parameter; decay that joins the gradient
  float b1, c1, b2, c2;        // betas and 1 - beta
  float size, rootCorrection;  // -lr / (1 - b1^step), sqrt(1 - b2^step)
  float eps;
};

// A beta as the decimal of 7 places that was meant: 1 - 0.999f is off by 1.3e-5, and with it the moments that checkpoints carry.
inline double decimalBeta(float beta) { return std::round(static_cast<double>(beta) * 1e7) / 1e7; }

template <class P>
AdamStep adamStepOf(const P& p, double step, float factor) {
  const double b1 = decimalBeta(p.beta1), b2 = decimalBeta(p.beta2), lr = p.lr;
  AdamStep s;
  s.factor = factor;
  s.decay = p.decoupled ? static_cast<float>(1 - lr * p.weightDecay) : 1.0f;
  s.l2 = p.decoupled ? 0.0f : p.weightDecay;
  s.b1 = static_cast<float>(b1);
  s.c1 = static_cast<float>(1 - b1);
  s.b2 = static_cast<float>(b2);
  s.c2 = static_cast<float>(1 - b2);
  s.size = static_cast<float>(-lr / (1 - std::pow(b1, step)));
  s.rootCorrection = static_cast<float>(std::sqrt(1 - std::pow(b2, step)));
  s.eps = p.eps;
  return s;
}

// Parameters and gradients of any dtype as runs of f32: in place where they are f32, otherwise by way of a chunk.
struct Trained {
  DType type, gradType;
  char* param;
  const char* grad;
  float* master;  // nullptr: the parameter itself

  Trained(const NsCall& call, int paramIndex, int gradIndex, int masterIndex)
      : type(dtype(call.in[paramIndex])),
        gradType(dtype(call.in[gradIndex])),
        param(mut<char>(call, paramIndex)),
        grad(in<char>(call, gradIndex)),
        master(input(call, masterIndex) ? mut<float>(call, masterIndex) : nullptr) {}

  // body(p, g, at, n): f32 parameters to update in place and gradients of the elements [at, at + n), n <= kOptimizerChunk.
  template <class F>
  void each(int64_t begin, int64_t end, F body) const {
    alignas(64) float wide[kOptimizerChunk], wideGrad[kOptimizerChunk];
    const int64_t size = static_cast<int64_t>(dtypeSize(type)), gradSize = static_cast<int64_t>(dtypeSize(gradType));
    for (int64_t at = begin; at < end; at += kOptimizerChunk) {
      const int64_t n = end - at < kOptimizerChunk ? end - at : kOptimizerChunk;
      char* own = param + at * size;
      const char* g = grad + at * gradSize;
      if (gradType != DType::f32) castRow(gradType, DType::f32, g, wideGrad, n);
      float* p = master ? master + at : type == DType::f32 ? reinterpret_cast<float*>(own) : wide;
      if (p == wide) castRow(type, DType::f32, own, wide, n);
      body(p, gradType == DType::f32 ? reinterpret_cast<const float*>(g) : wideGrad, at, n);
      if (reinterpret_cast<char*>(p) != own) castRow(DType::f32, type, p, own, n);
    }
  }
};

}  // namespace ns::cpu
