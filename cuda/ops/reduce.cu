// reduce (sum, mean, max, min, argmax over one axis) and sum_to, the gradient of broadcasting.
// Floor: bound by memory, the input read once.
// Layout: row-major; dims that are all summed (or all kept) are merged. Sums run in f64, so their error does not grow with the length; the
// order is that of cuda/kernels/reduction.cuh.
// Reference: torch.sum, mean, amax, amin, argmax, Tensor.sum_to_size; a NaN wins max, min and argmax, and the first maximum counts.
#include <type_traits>

#include "cuda/kernels/reduction.cuh"
#include "cuda/ops/copy.h"

namespace ns::cuda {
namespace {

Gather gatherOf(const plan::Kept& m, int64_t total) {
  Gather g;
  g.run = Divider(m.n, total);
  g.kept = walkOf(m.kept, total);
  g.repeated = walkOf(m.repeated, total);
  g.outputs = m.kept.total * (m.inner ? m.n : 1);
  g.values = m.repeated.total * (m.inner ? 1 : m.n);
  return g;
}

// Packs of 4 columns for sums alone: the others hardly run over columns.
template <class Op>
Status reduceAs(const Context& ctx, const Op& op, const NsTensor& x, const plan::Kept& m, const Out& y) {
  const Gather g = gatherOf(m, count(x));
  if (!m.inner) return runs(ctx, op, inOf(x), g, y);
  if constexpr (std::is_same_v<Op, SumOf>) {
    if (m.n % 4 == 0 && aligned16(x.data)) return columns<4>(ctx, op, inOf(x), g, y);
  }
  return columns<1>(ctx, op, inOf(x), g, y);
}
}  // namespace

namespace ops {

Status reduce(const Context& ctx, const NsCall& call, const op::reduce::Params& p) {
  using Fn = op::reduce::Fn;
  const NsTensor& x = call.in[0];
  if (dtype(x) != DType::f32) return failure(NS_UNSUPPORTED, "[reduce] x is %s, accepted: f32", dtypeName(dtype(x)));
  const int axis = p.axis < 0 ? p.axis + x.ndim : p.axis;
  if (count(call.out[0]) == 0) return {};
  const int64_t n = x.dims[axis];
  if (n == 0) return failure(NS_INVALID, "[reduce] axis %d has no entries", axis);
  const plan::Kept m = plan::keptWhere(x, [&](int i) { return i != x.ndim - 1 - axis; });
  const Out y = outOf(call.out[0]);
  switch (p.fn) {
    case Fn::sum: return reduceAs(ctx, SumOf{}, x, m, y);
    case Fn::mean: return reduceAs(ctx, SumOf{static_cast<double>(n)}, x, m, y);
    case Fn::max: return reduceAs(ctx, MaxOf{1.0f}, x, m, y);
    case Fn::min: return reduceAs(ctx, MaxOf{-1.0f}, x, m, y);
    case Fn::argmax: return reduceAs(ctx, ArgmaxOf{}, x, m, y);
  }
  return failure(NS_UNSUPPORTED, "[reduce] function %d is not known", static_cast<int>(p.fn));
}

Status sum_to(const Context& ctx, const NsCall& call, const op::sum_to::Params&) {
  const NsTensor &x = call.in[0], &y = call.out[0];
  const int64_t n = count(y);
  const size_t size = dtypeSize(dtype(y));
  if (n == 0) return {};
  if (count(x) == 0) return check(cudaMemsetAsync(y.data, 0, static_cast<size_t>(n) * size, ctx.stream), "[sum_to] zeros");
  if (n == count(x)) {
    return copyRows(ctx, x.data, y.data, size, {n, {}});
  }
  return reduceAs(ctx, SumOf{}, x, plan::keptOf(x, y), outOf(y));
}

}  // namespace ops
}  // namespace ns::cuda
