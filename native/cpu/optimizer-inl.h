// One Adam step on a vector of elements, with the roundings of torch's single-tensor step on a machine with FMA. A Highway header: include
// it inside foreach_target files only.
#if defined(NS_CPU_OPTIMIZER_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_OPTIMIZER_INL_H_
#undef NS_CPU_OPTIMIZER_INL_H_
#else
#define NS_CPU_OPTIMIZER_INL_H_
#endif

#include <hwy/highway.h>

#include "native/cpu/optimizer.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

template <class D, class V = hn::Vec<D>>
HWY_INLINE void AdamVector(D d, const AdamStep& s, V g, V& p, V& m, V& v) {
  g = hn::Mul(g, hn::Set(d, s.factor));
  g = hn::MulAdd(hn::Set(d, s.l2), p, g);
  m = hn::MulAdd(hn::Set(d, s.c1), g, hn::Mul(m, hn::Set(d, s.b1)));
  v = hn::MulAdd(hn::Mul(hn::Set(d, s.c2), g), g, hn::Mul(v, hn::Set(d, s.b2)));
  const V root = hn::Add(hn::Div(hn::Sqrt(v), hn::Set(d, s.rootCorrection)), hn::Set(d, s.eps));
  p = hn::Add(hn::Mul(p, hn::Set(d, s.decay)), hn::Div(hn::Mul(hn::Set(d, s.size), m), root));
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_OPTIMIZER_INL_H_
