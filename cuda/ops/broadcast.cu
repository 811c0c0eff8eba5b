// binary (with broadcasting) and broadcast_to.
// Floor: bound by memory: operands read once, the result written once (binary f32: 12 bytes per element without broadcasting).
// Layout: contiguous row-major; dims are merged until only real broadcasting is left, then rows of the innermost dim are walked, 8 elements
// (16 bytes) per thread where rows and addresses allow it.
// Reference: torch's functions of the same names, torch.Tensor.expand.
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/walk.h"
#include "cuda/ops/copy.h"

namespace ns::cuda {
namespace {
using Fn = op::binary::Fn;

template <class F, int N, class V>
__device__ inline void both(V (&a)[N], const V (&b)[N], F f) {
#pragma unroll
  for (int i = 0; i < N; i++) a[i] = f(a[i], b[i]);
}

// A NaN in either operand wins max and min.
template <int N>
__device__ inline void apply(Fn fn, float (&a)[N], const float (&b)[N]) {
  switch (fn) {
    case Fn::add: return both(a, b, [](float p, float q) { return p + q; });
    case Fn::sub: return both(a, b, [](float p, float q) { return p - q; });
    case Fn::mul: return both(a, b, [](float p, float q) { return p * q; });
    case Fn::div: return both(a, b, [](float p, float q) { return p / q; });
    case Fn::max: return both(a, b, [](float p, float q) { return p != p || p > q ? p : q; });
    case Fn::min: return both(a, b, [](float p, float q) { return p != p || p < q ? p : q; });
    case Fn::lt: return both(a, b, [](float p, float q) { return p < q ? 1.0f : 0.0f; });
    case Fn::le: return both(a, b, [](float p, float q) { return p <= q ? 1.0f : 0.0f; });
  }
}

// Integers wrap; a division truncates toward zero and gives 0 for a zero divisor.
__device__ inline int32_t wrap(uint32_t v) { return static_cast<int32_t>(v); }
__device__ inline int32_t divide(int32_t a, int32_t b) {
  if (b == 0) return 0;
  return b == -1 ? wrap(0u - static_cast<uint32_t>(a)) : a / b;
}

template <int N>
__device__ inline void apply(Fn fn, int32_t (&a)[N], const int32_t (&b)[N]) {
  switch (fn) {
    case Fn::add: return both(a, b, [](int32_t p, int32_t q) { return wrap(static_cast<uint32_t>(p) + static_cast<uint32_t>(q)); });
    case Fn::sub: return both(a, b, [](int32_t p, int32_t q) { return wrap(static_cast<uint32_t>(p) - static_cast<uint32_t>(q)); });
    case Fn::mul: return both(a, b, [](int32_t p, int32_t q) { return wrap(static_cast<uint32_t>(p) * static_cast<uint32_t>(q)); });
    case Fn::div: return both(a, b, [](int32_t p, int32_t q) { return divide(p, q); });
    case Fn::max: return both(a, b, [](int32_t p, int32_t q) { return p > q ? p : q; });
    case Fn::min: return both(a, b, [](int32_t p, int32_t q) { return p < q ? p : q; });
    case Fn::lt: return both(a, b, [](int32_t p, int32_t q) { return p < q ? 1 : 0; });
    case Fn::le: return both(a, b, [](int32_t p, int32_t q) { return p <= q ? 1 : 0; });
  }
}

template <int N>
__device__ inline void load(const In& t, int64_t at, int32_t (&v)[N]) {
  constexpr int kPack = N < 4 ? N : 4;
#pragma unroll
  for (int i = 0; i < N; i += kPack) {
    const Pack<int32_t, kPack> pack = loadPack<kPack>(static_cast<const int32_t*>(t.data) + at + i);
#pragma unroll
    for (int j = 0; j < kPack; j++) v[i + j] = pack.v[j];
  }
}
template <int N>
__device__ inline void store(const Out& t, int64_t at, const int32_t (&v)[N]) {
  constexpr int kPack = N < 4 ? N : 4;
#pragma unroll
  for (int i = 0; i < N; i += kPack) {
    Pack<int32_t, kPack> pack;
#pragma unroll
    for (int j = 0; j < kPack; j++) pack.v[j] = v[i + j];
    storePack<kPack>(static_cast<int32_t*>(t.data) + at + i, pack);
  }
}

template <int N, class V>
__device__ inline void loadOrRepeat(const In& t, int64_t at, bool step, V (&v)[N]) {
  if (step) return load(t, at, v);
  V one[1];
  load(t, at, one);
#pragma unroll
  for (int i = 0; i < N; i++) v[i] = one[0];
}

struct Plan {
  In a, b;
  Out y;
  int64_t n;    // of a row
  Divider row;  // threads of a row
  bool aStep, bStep;
  Walk rows;
};

template <int N, class V>
__device__ inline void binaryAt(Fn fn, const Plan& p, int64_t row, int64_t column) {
  int64_t ao, bo;
  p.rows.at(row, &ao, &bo);
  V a[N], b[N];
  loadOrRepeat(p.a, ao + (p.aStep ? column : 0), p.aStep, a);
  loadOrRepeat(p.b, bo + (p.bStep ? column : 0), p.bStep, b);
  apply(fn, a, b);
  store(p.y, row * p.n + column, a);
}

// `items` threads take N elements each; a single row may have a tail of elements that a thread takes alone.
template <int N, class V>
__global__ void binaryKernel(Fn fn, Plan p, int64_t items, int64_t tail) {
  for (int64_t i = firstItem(); i < items + tail; i += itemStep()) {
    if (i < items) {
      const int64_t row = p.row.quotient(i);
      binaryAt<N, V>(fn, p, row, (i - row * p.row.d) * N);
    } else {
      binaryAt<1, V>(fn, p, 0, items * N + i - items);
    }
  }
}

template <class V>
Status binaryAs(const Context& ctx, const NsCall& call, Fn fn) {
  const NsTensor &a = call.in[0], &b = call.in[1], &y = call.out[0];
  const plan::Broadcast m = plan::broadcastOf(a, b, y);
  const int64_t total = count(y), rows = total / m.n;
  Plan p{inOf(a), inOf(b), outOf(y), m.n, Divider(), m.aStep, m.bStep, walkOf(m.rows, total)};
  const bool wide = (rows == 1 || m.n % kWide == 0) && m.n >= kWide && aligned16(a.data) && aligned16(b.data) && aligned16(y.data);
  const int64_t perRow = wide ? m.n / kWide : m.n, items = rows * perRow, tail = wide ? total - items * kWide : 0;
  p.row = Divider(perRow, items);
  return launch(ctx, wide ? binaryKernel<kWide, V> : binaryKernel<1, V>, itemShape(ctx, items + tail), fn, p, items, tail);
}

// Rows of n equal elements, N to a thread.
template <int N, class T>
__global__ void repeatKernel(const T* x, T* y, int64_t items, Divider row, Walk rows) {
  for (int64_t i = firstItem(); i < items; i += itemStep()) {
    int64_t f, t;
    rows.at(row.quotient(i), &f, &t);
    Pack<T, N> pack;
#pragma unroll
    for (int j = 0; j < N; j++) pack.v[j] = x[f];
    storePack<N>(y + i * N, pack);
  }
}

template <class T>
Status repeatAs(const Context& ctx, const NsCall& call, const plan::Broadcast& m) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  const bool wide = m.n % kPack == 0 && aligned16(call.out[0].data);
  const int64_t total = count(call.out[0]), items = total / (wide ? kPack : 1);
  return launch(ctx, wide ? repeatKernel<kPack, T> : repeatKernel<1, T>, itemShape(ctx, items), in<T>(call, 0), out<T>(call, 0), items,
                Divider(wide ? m.n / kPack : m.n, items), walkOf(m.rows, total));
}
}  // namespace

namespace ops {

Status binary(const Context& ctx, const NsCall& call, const op::binary::Params& p) {
  if (count(call.out[0]) == 0) return {};
  return dtype(call.in[0]) == DType::i32 ? binaryAs<int32_t>(ctx, call, p.fn) : binaryAs<float>(ctx, call, p.fn);
}

Status broadcast_to(const Context& ctx, const NsCall& call, const op::broadcast_to::Params&) {
  const NsTensor &x = call.in[0], &y = call.out[0];
  if (count(y) == 0) return {};
  const plan::Broadcast m = plan::broadcastOf(x, y, y);  // y as the second operand: its strides are those of the target
  const size_t size = dtypeSize(dtype(x));
  if (!m.aStep) return size == 2 ? repeatAs<uint16_t>(ctx, call, m) : repeatAs<uint32_t>(ctx, call, m);
  return copyRows(ctx, x.data, y.data, size, {m.n, m.rows});
}

}  // namespace ops
}  // namespace ns::cuda
