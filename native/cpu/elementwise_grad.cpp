// unary_grad, affine_grad: slopes of the elementwise functions at x times dy.
// Floor: bound by memory, 12 bytes per element; exp and its kin 0.6 to 1.2 ns per element and core.
// Layout: contiguous.
// Reference: the derivatives of torch's functions of the same names; gelu is the tanh form. Every slope is written so that neither an
// overflow of the inner exponential nor cancellation near 1 reaches the result; a NaN in x stays one, except in affine_grad.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/elementwise_grad.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

// sigmoid(x) and its slope sigmoid(x) (1 - sigmoid(x)), both from e = exp(-|x|) without cancellation.
template <class D, class V>
HWY_INLINE void SigmoidAndSlope(D d, V x, V& y, V& slope) {
  const V one = hn::Set(d, 1.0f), e = Exp(d, hn::Neg(hn::Abs(x))), r = hn::Div(one, hn::Add(one, e)), q = hn::Mul(e, r);
  y = hn::IfThenElse(hn::Lt(x, hn::Zero(d)), q, r);
  slope = hn::Mul(q, r);
}

template <class D, class V>
HWY_INLINE V SigmoidSlope(D d, V x) {
  V y, slope;
  SigmoidAndSlope(d, x, y, slope);
  return slope;
}

template <class D, class V>
HWY_INLINE V SiluSlope(D d, V x) {
  V y, slope;
  SigmoidAndSlope(d, x, y, slope);
  return hn::MulAdd(x, slope, y);
}

// gelu(x) = x s(u) with u = k (x + 0.044715 x^3): slope s + x s' u'. Beyond 12 the slope is 0 or 1 in f32 and u' could overflow.
template <class D, class V>
HWY_INLINE V GeluSlope(D d, V x0) {
  const V far = hn::Set(d, 12.0f);
  const V x = hn::IfThenElse(hn::Gt(hn::Abs(x0), far), hn::CopySign(far, x0), x0);
  const float k = 1.5957691216057308f;
  const V z = hn::Mul(x, x);
  const V u = hn::Mul(x, hn::MulAdd(z, hn::Set(d, k * 0.044715f), hn::Set(d, k)));
  const V slope = hn::Mul(x, hn::MulAdd(z, hn::Set(d, 3 * k * 0.044715f), hn::Set(d, k)));
  V y, own;
  SigmoidAndSlope(d, u, y, own);
  return hn::IfThenElse(hn::IsNaN(x0), x0, hn::MulAdd(slope, own, y));
}

// 1 - tanh^2 x = 4 e / (1 + e)^2 with e = exp(-2 |x|)
template <class D, class V>
HWY_INLINE V TanhSlope(D d, V x) {
  return hn::Mul(hn::Set(d, 4.0f), SigmoidSlope(d, hn::Add(x, x)));
}

void UnaryGradRow(op::unary_grad::Fn fn, const float* x, const float* dy, float* dx, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  using Fn = op::unary_grad::Fn;
  const V zero = hn::Zero(d), one = hn::Set(d, 1.0f), half = hn::Set(d, 0.5f);
  switch (fn) {
    case Fn::silu: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, SiluSlope(d, v)); });
    case Fn::gelu: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, GeluSlope(d, v)); });
    case Fn::exp: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, Exp(d, v)); });
    case Fn::log: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Div(g, v); });
    case Fn::sqrt: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Div(hn::Mul(g, half), hn::Sqrt(v)); });
    case Fn::rsqrt: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Div(hn::Mul(g, hn::Neg(half)), hn::Mul(v, hn::Sqrt(v))); });
    case Fn::tanh: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, TanhSlope(d, v)); });
    case Fn::sigmoid: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, SigmoidSlope(d, v)); });
    case Fn::abs:  // v * v where v is 0 or NaN
      return Map2(d, x, dy, dx, n,
                  [&](V v, V g) { return hn::IfThenElse(hn::Gt(v, zero), g, hn::IfThenElse(hn::Lt(v, zero), hn::Neg(g), hn::Mul(v, v))); });
    case Fn::neg: return Map(d, dy, dx, n, [&](V g) { return hn::Neg(g); });
    case Fn::square: return Map2(d, x, dy, dx, n, [&](V v, V g) { return hn::Mul(g, hn::Add(v, v)); });
    case Fn::recip:
      return Map2(d, x, dy, dx, n, [&](V v, V g) {
        const V r = hn::Div(one, v);
        return hn::Neg(hn::Mul(hn::Mul(g, r), r));
      });
  }
}

// The product and the sum are those of affine, bit for bit, so that both clamp the same elements.
void AffineGradRow(const op::affine_grad::Params& p, const float* x, const float* dy, float* dx, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  const V mul = hn::Set(d, p.mul), add = hn::Set(d, p.add), lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
  Map2(d, x, dy, dx, n, [&](V v, V g) {
    const V t = hn::Add(hn::Mul(v, mul), add);
    return hn::IfThenElseZero(hn::And(hn::Ge(t, lo), hn::Le(t, hi)), hn::Mul(g, mul));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(UnaryGradRow);
HWY_EXPORT(AffineGradRow);

namespace kernels {
namespace {
constexpr int64_t kGrain = 16384;
}

Status unary_grad(Context& ctx, const NsCall& call, const op::unary_grad::Params& p) {
  const float *x = in<float>(call, op::unary_grad::in::x), *dy = in<float>(call, op::unary_grad::in::dy);
  float* dx = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(UnaryGradRow);
  ctx.pool.parallelFor(count(call.in[0]), kGrain, [&](int64_t b, int64_t e, int) { row(p.fn, x + b, dy + b, dx + b, e - b); });
  return {};
}

Status affine_grad(Context& ctx, const NsCall& call, const op::affine_grad::Params& p) {
  const float *x = in<float>(call, op::affine_grad::in::x), *dy = in<float>(call, op::affine_grad::in::dy);
  float* dx = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(AffineGradRow);
  ctx.pool.parallelFor(count(call.in[0]), kGrain, [&](int64_t b, int64_t e, int) { row(p, x + b, dy + b, dx + b, e - b); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
