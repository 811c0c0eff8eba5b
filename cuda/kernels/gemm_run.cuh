// From a Gemm and its plan to a kernel. Instantiated by gemm_*.cu: rows by rows (linear, a b^T), rows by columns (a b), columns by columns
// (weight gradients).
#pragma once
#include <algorithm>

#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_kernel.cuh"

namespace ns::cuda::gemm {

template <class Math, bool ALONG_A, bool ALONG_B, class A, class B>
Status runTile(const Context& ctx, const Plan& plan, Product<A, B>& p, int batch) {
  constexpr bool kFast = std::is_same_v<A, Fast<ALONG_A>>;
  constexpr bool kHalf = sizeof(typename Math::Element) == 2;
  constexpr auto kExists = [](Size s) { return sizeToRun(s, ALONG_A && ALONG_B, kFast, kHalf, Math::kTensor) == s; };
  if constexpr (kExists(Size::small)) {
    if (plan.size == Size::small) return start<Math, Small>(ctx, p, plan.splits, batch);
  }
  if constexpr (kExists(Size::few)) {
    if (plan.size == Size::few) return start<Math, Few>(ctx, p, plan.splits, batch);
  }
  if constexpr (kExists(Size::large)) {
    if (plan.size == Size::large) return start<Math, Large>(ctx, p, plan.splits, batch);
  }
  return start<Math, Medium>(ctx, p, plan.splits, batch);
}

template <class Math, bool ALONG_A, bool ALONG_B>
Status runSome(const Context& ctx, const Gemm& g, const Plan& plan) {
  constexpr DType kType = kDType<typename Math::Element>;
  const int m = static_cast<int>(g.m), n = static_cast<int>(g.n), k = static_cast<int>(g.k);
  const int linesA = ALONG_A ? m : k, widthA = ALONG_A ? k : m, linesB = ALONG_B ? n : k, widthB = ALONG_B ? k : n;
  const auto go = [&](const auto& a, const auto& b) {
    Product<std::decay_t<decltype(a)>, std::decay_t<decltype(b)>> p{a, b, m,          n,           k, plan.depth, plan.partial,
                                                                    0, 0, g.epilogue, plan.tickets};
    return runTile<Math, ALONG_A, ALONG_B>(ctx, plan, p, static_cast<int>(g.batch));
  };
  if (plan.fast) return go(Fast<ALONG_A>::of(g.a, linesA, widthA), Fast<ALONG_B>::of(g.b, linesB, widthB));
  return go(Any<ALONG_A>::of(g.a, linesA, widthA, kType), Any<ALONG_B>::of(g.b, linesB, widthB, kType));
}

template <class Math, bool ALONG_A, bool ALONG_B>
Status run(const Context& ctx, const Gemm& g, const Plan& plan) {
  constexpr int64_t kMost = 65535;  // of a grid's z
  if (g.batch <= kMost) return runSome<Math, ALONG_A, ALONG_B>(ctx, g, plan);
  for (int64_t z = 0; z < g.batch; z += kMost) {
    Gemm some = g;
    const auto move = [z](auto* p, int64_t stride, DType t) { return p ? p + z * stride * static_cast<int64_t>(dtypeSize(t)) : p; };
    some.batch = std::min(kMost, g.batch - z);
    some.a.data = move(static_cast<const char*>(g.a.data), g.a.batch, g.a.type);
    some.b.data = move(static_cast<const char*>(g.b.data), g.b.batch, g.b.type);
    some.epilogue.residual = move(static_cast<const char*>(g.epilogue.residual), g.epilogue.batch, g.epilogue.residualType);
    some.epilogue.y = move(static_cast<char*>(g.epilogue.y), g.epilogue.batch, g.epilogue.yType);
    const Status s = runSome<Math, ALONG_A, ALONG_B>(ctx, some, plan);
    if (!s.ok()) return s;
  }
  return Status();
}

}  // namespace ns::cuda::gemm
