// adamw and sgd: one pass over flat ranges of parameters.
// Floor: bytes: adamw 28 per element in f32 (p, m, v read and written, g read), sgd 20 with velocity; 16-bit parameters and gradients take
// 2 each way and 8 for the f32 master. Every element is on its own; a thread has one quad of each tensor in flight.
// Reference: torch.optim.AdamW, Adam and SGD (single tensor), torch.nn.utils.clip_grad_norm_.
#include "cuda/ops/optimizer.h"

namespace ns::cuda {
namespace {

constexpr int kThreads = 256;

// A parameter and N moments in f32, as a pass over them sees the elements [at, at + 4), `left` of which exist.
template <int N>
struct Elements {
  float p[kQuad], g[kQuad], m[N][kQuad];
  int64_t at, left;
  bool whole;

  __device__ Elements(const Trained& t, const Floats (&moments)[N], int64_t first, int64_t n) : at(first), left(n - first) {
    whole = left >= kQuad && t.own.quads && t.grad.quads && (!t.copy.data || t.copy.quads);
    for (int i = 0; i < N; i++) whole = whole && (!moments[i].data || moments[i].quads);
    if (whole) {
      const Raw own = loadRaw(t.own, at), grad = loadRaw(t.grad, at);
      Raw raw[N]{};
      for (int i = 0; i < N; i++) {
        if (moments[i].data) raw[i] = loadRaw(moments[i], at);
      }
      widen(own, t.own.type, p);
      widen(grad, t.grad.type, g);
      for (int i = 0; i < N; i++) widen<float>(raw[i], m[i]);
      return;
    }
    for (int e = 0; e < kQuad; e++) {
      p[e] = e < left ? loadOne(t.own, at + e) : 0.0f;
      g[e] = e < left ? loadOne(t.grad, at + e) : 0.0f;
      for (int i = 0; i < N; i++) m[i][e] = e < left && moments[i].data ? loadOne(moments[i], at + e) : 0.0f;
    }
  }
  __device__ void store(Floats to, const float (&v)[kQuad]) const {
    if (!to.data) return;
    to.quads = whole;
    writeQuad(to, at, left, v);
  }
  __device__ void store(const Trained& t, const Floats (&moments)[N]) const {
    store(t.own, p);
    store(t.copy, p);
    for (int i = 0; i < N; i++) store(moments[i], m[i]);
  }
};

__global__ void __launch_bounds__(kThreads) adamPass(Trained t, Floats m, Floats v, const Step* step, int64_t n) {
  const Step s = *step;
  if (s.skip) return;
  const Floats moments[2] = {m, v};
  const int64_t stride = int64_t{gridDim.x} * kThreads * kQuad;
  for (int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kQuad; at < n; at += stride) {
    Elements<2> x(t, moments, at, n);
    for (int e = 0; e < kQuad; e++) adam(s, x.g[e], x.p[e], x.m[0][e], x.m[1][e]);
    x.store(t, moments);
  }
}

__global__ void __launch_bounds__(kThreads)
    sgdPass(Trained t, Floats velocity, float momentum, bool nesterov, const Step* step, int64_t n) {
  const Step s = *step;
  if (s.skip) return;
  const Floats moments[1] = {velocity};
  const int64_t stride = int64_t{gridDim.x} * kThreads * kQuad;
  for (int64_t at = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kQuad; at < n; at += stride) {
    Elements<1> x(t, moments, at, n);
    for (int e = 0; e < kQuad; e++) {
      const float g = fmaf(s.l2, x.p[e], x.g[e] * s.factor), v = momentum * x.m[0][e] + g;
      x.p[e] = fmaf(-s.lr, nesterov ? fmaf(momentum, v, g) : v, x.p[e]);
      x.m[0][e] = v;
    }
    x.store(t, moments);
  }
}

Shape passShape(const Context& ctx, int64_t n) { return {gridFor(ctx, divUp(n, kThreads * kQuad)), dim3(kThreads)}; }

}  // namespace

namespace ops {

Status adamw(const Context& ctx, const NsCall& call, const op::adamw::Params& p) {
  namespace I = op::adamw::in;
  const float* stats = optional(call, I::stats);
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[adamw] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  const int64_t n = count(call.in[I::param]);
  if (n == 0) return Status();
  Step* step;
  if (Status s = launchStep(ctx, adamSettings(p), stats, optional(call, I::dynamic), &step); !s.ok()) return s;
  return launch(ctx, adamPass, passShape(ctx, n), trained(call, I::param, I::grad, I::master), floats(call.in[I::m], kQuad),
                floats(call.in[I::v], kQuad), step, n);
}

Status sgd(const Context& ctx, const NsCall& call, const op::sgd::Params& p) {
  namespace I = op::sgd::in;
  const float* stats = optional(call, I::stats);
  const NsTensor* velocity = input(call, I::velocity);
  if (p.maxNorm > 0 && !stats) return failure(NS_INVALID, "[sgd] maxNorm is %g, but stats are missing", static_cast<double>(p.maxNorm));
  if (p.momentum > 0 && !velocity)
    return failure(NS_INVALID, "[sgd] momentum is %g, but velocity is missing", static_cast<double>(p.momentum));
  const int64_t n = count(call.in[I::param]);
  if (n == 0) return Status();
  Step* step;
  const Settings o{p.lr, p.weightDecay, 1.0f, p.invScale, 0.0f, 0.0f, 0.0f, p.maxNorm, false};
  if (Status s = launchStep(ctx, o, stats, optional(call, I::dynamic), &step); !s.ok()) return s;
  return launch(ctx, sgdPass, passShape(ctx, n), trained(call, I::param, I::grad, I::master),
                floats(velocity ? velocity->data : nullptr, DType::f32, kQuad), p.momentum, p.nesterov != 0, step, n);
}

}  // namespace ops
}  // namespace ns::cuda
