// From a dtype known at run time to a type: withFloat(t, [&](auto tag) { using T = decltype(tag); ... }).
#pragma once
#include "cuda/common/half.h"
#include "native/abi/status.h"

namespace ns::cuda {

template <class F>
Status withFloat(DType t, F f) {
  switch (t) {
    case DType::f32: return f(float{});
    case DType::f16: return f(f16{});
    case DType::bf16: return f(bf16{});
    default: return failure(NS_UNSUPPORTED, "dtype %s is no float type", dtypeName(t));
  }
}

}  // namespace ns::cuda
