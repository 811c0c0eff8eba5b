// fill, unary, binary, affine, accumulate.
// Floor: bound by memory; bytes = inputs + outputs once (binary f32: 12 per element), exp and its kin 0.5 to 1.3 ns per element.
// Layout: contiguous row-major; binary merges dims until only real broadcasting is left, then works on rows of the innermost dim.
// Reference: torch.Tensor ops of the same names; gelu is the tanh form.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/elementwise.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include "native/abi/plan.h"
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;

// ln x (Cephes logf: x = m 2^e with m in [sqrt(1/2), sqrt(2)), polynomial in m - 1); 0 gives -inf, negatives and NaN give NaN.
template <class D, class V>
HWY_INLINE V Log(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V one = hn::Set(d, 1.0f), inf = hn::BitCast(d, hn::Set(di, 0x7f800000));
  const auto tiny = hn::Lt(x, hn::Set(d, 1.17549435e-38f));
  const auto bits = hn::BitCast(di, hn::IfThenElse(tiny, hn::Mul(x, hn::Set(d, 33554432.0f)), x));  // subnormals times 2^25
  const auto shifted = hn::Sub(bits, hn::Set(di, 0x3f3504f3));
  V e = hn::ConvertTo(d, hn::ShiftRight<23>(shifted));
  e = hn::Sub(e, hn::IfThenElseZero(tiny, hn::Set(d, 25.0f)));
  const auto mantissa = hn::Add(hn::And(shifted, hn::Set(di, 0x007fffff)), hn::Set(di, 0x3f3504f3));
  const V m = hn::Sub(hn::BitCast(d, mantissa), one), z = hn::Mul(m, m);
  V p = hn::Set(d, 7.0376836292e-2f);
  for (const float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f, 2.0000714765e-1f,
                        -2.4999993993e-1f, 3.3333331174e-1f}) {
    p = hn::MulAdd(p, m, hn::Set(d, c));
  }
  V y = hn::Mul(hn::Mul(m, z), p);
  y = hn::MulAdd(e, hn::Set(d, -2.12194440e-4f), y);
  y = hn::NegMulAdd(hn::Set(d, 0.5f), z, y);
  y = hn::MulAdd(e, hn::Set(d, 0.693359375f), hn::Add(m, y));
  y = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(inf), hn::IfThenElse(hn::Eq(x, inf), inf, y));
  return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), y, hn::BitCast(d, hn::Set(di, 0x7fc00000)));
}

void UnaryRow(op::unary::Fn fn, const float* x, float* y, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  using Fn = op::unary::Fn;
  const V one = hn::Set(d, 1.0f);
  switch (fn) {
    case Fn::silu: return Map(d, x, y, n, [&](V v) { return Silu(d, v); });
    case Fn::gelu: return Map(d, x, y, n, [&](V v) { return GeluTanh(d, v); });
    case Fn::exp: return Map(d, x, y, n, [&](V v) { return Exp(d, v); });
    case Fn::log: return Map(d, x, y, n, [&](V v) { return Log(d, v); });
    case Fn::sqrt: return Map(d, x, y, n, [&](V v) { return hn::Sqrt(v); });
    case Fn::rsqrt: return Map(d, x, y, n, [&](V v) { return hn::Div(one, hn::Sqrt(v)); });
    case Fn::tanh: return Map(d, x, y, n, [&](V v) { return Tanh(d, v); });
    case Fn::sigmoid: return Map(d, x, y, n, [&](V v) { return Sigmoid(d, v); });
    case Fn::abs: return Map(d, x, y, n, [&](V v) { return hn::Abs(v); });
    case Fn::neg: return Map(d, x, y, n, [&](V v) { return hn::Neg(v); });
    case Fn::square: return Map(d, x, y, n, [&](V v) { return hn::Mul(v, v); });
    case Fn::recip: return Map(d, x, y, n, [&](V v) { return hn::Div(one, v); });
  }
}

// One row of a broadcast operation; an operand with step 0 is a single value.
template <class D, class T, class F>
HWY_INLINE void BroadcastRow(D d, const T* a, bool aStep, const T* b, bool bStep, T* y, int64_t n, F f) {
  using V = hn::Vec<D>;
  if (aStep && bStep) return Map2(d, a, b, y, n, f);
  if (aStep) {
    const V vb = hn::Set(d, *b);
    return Map(d, a, y, n, [&](V v) { return f(v, vb); });
  }
  const V va = hn::Set(d, *a);
  if (bStep) return Map(d, b, y, n, [&](V v) { return f(va, v); });
  const V v = f(va, hn::Set(d, *b));
  for (int64_t i = 0; i < n; i++) y[i] = hn::GetLane(v);
}

// A NaN in either operand wins max and min, whatever the instruction set's min and max do with it.
template <class V>
HWY_INLINE V KeepNaN(V a, V b, V y) {
  return hn::IfThenElse(hn::IsNaN(a), a, hn::IfThenElse(hn::IsNaN(b), b, y));
}

void BinaryRowF32(op::binary::Fn fn, const float* a, bool aStep, const float* b, bool bStep, float* y, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  using Fn = op::binary::Fn;
  const V one = hn::Set(d, 1.0f);
  switch (fn) {
    case Fn::add: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Add(p, q); });
    case Fn::sub: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Sub(p, q); });
    case Fn::mul: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Mul(p, q); });
    case Fn::div: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Div(p, q); });
    case Fn::max: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return KeepNaN(p, q, hn::Max(p, q)); });
    case Fn::min: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return KeepNaN(p, q, hn::Min(p, q)); });
    case Fn::lt: return BroadcastRow(d, a, aStep, b, bStep, y, n, [one](V p, V q) { return hn::IfThenElseZero(hn::Lt(p, q), one); });
    case Fn::le: return BroadcastRow(d, a, aStep, b, bStep, y, n, [one](V p, V q) { return hn::IfThenElseZero(hn::Le(p, q), one); });
  }
}

// Integers wrap; a division truncates toward zero and gives 0 for a zero divisor.
int32_t DivideI32(int32_t a, int32_t b) {
  if (b == 0) return 0;
  if (b == -1) return static_cast<int32_t>(0u - static_cast<uint32_t>(a));
  return a / b;
}

void BinaryRowI32(op::binary::Fn fn, const int32_t* a, bool aStep, const int32_t* b, bool bStep, int32_t* y, int64_t n) {
  const I32 d;
  using V = hn::Vec<I32>;
  using Fn = op::binary::Fn;
  const V one = hn::Set(d, 1);
  switch (fn) {
    case Fn::add: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Add(p, q); });
    case Fn::sub: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Sub(p, q); });
    case Fn::mul: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Mul(p, q); });
    case Fn::div:
      for (int64_t i = 0; i < n; i++) y[i] = DivideI32(a[aStep ? i : 0], b[bStep ? i : 0]);
      return;
    case Fn::max: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Max(p, q); });
    case Fn::min: return BroadcastRow(d, a, aStep, b, bStep, y, n, [](V p, V q) { return hn::Min(p, q); });
    case Fn::lt: return BroadcastRow(d, a, aStep, b, bStep, y, n, [one](V p, V q) { return hn::IfThenElseZero(hn::Lt(p, q), one); });
    case Fn::le: return BroadcastRow(d, a, aStep, b, bStep, y, n, [one](V p, V q) { return hn::IfThenZeroElse(hn::Gt(p, q), one); });
  }
}

// Separate multiply and add: the same bits on machines with and without FMA. A NaN fails both comparisons and stays.
void AffineRow(const op::affine::Params& p, const float* x, float* y, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  const V mul = hn::Set(d, p.mul), add = hn::Set(d, p.add), lo = hn::Set(d, p.lo), hi = hn::Set(d, p.hi);
  Map(d, x, y, n, [&](V v) {
    const V t = hn::Add(hn::Mul(v, mul), add);
    return hn::IfThenElse(hn::Gt(t, hi), hi, hn::IfThenElse(hn::Lt(t, lo), lo, t));
  });
}

void AccumulateRow(const op::accumulate::Params& p, float* y, const float* x, int64_t n) {
  const F32 d;
  using V = hn::Vec<F32>;
  const V alpha = hn::Set(d, p.alpha), beta = hn::Set(d, p.beta);
  if (p.beta == 0.0f) return Map(d, x, y, n, [&](V v) { return hn::Mul(v, alpha); });
  Map2(d, y, x, y, n, [&](V u, V v) { return hn::Add(hn::Mul(u, beta), hn::Mul(v, alpha)); });
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(UnaryRow);
HWY_EXPORT(BinaryRowF32);
HWY_EXPORT(BinaryRowI32);
HWY_EXPORT(AffineRow);
HWY_EXPORT(AccumulateRow);

namespace {
constexpr int64_t kGrain = 16384;  // elements: 64 KiB, long enough to hide the cost of taking a chunk

template <class T, class Row>
void broadcast(Context& ctx, const NsCall& c, op::binary::Fn fn, Row row) {
  const plan::Broadcast m = plan::broadcastOf(c.in[0], c.in[1], c.out[0]);
  const T *a = in<T>(c, 0), *b = in<T>(c, 1);
  T* y = out<T>(c, 0);
  const int64_t total = count(c.out[0]);
  if (total == 0) return;
  const int64_t block = m.n < kGrain ? m.n : kGrain, blocks = (m.n + block - 1) / block, rows = total / m.n;
  ctx.pool.parallelFor(rows * blocks, (kGrain + block - 1) / block, [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; t++) {
      const int64_t r = t / blocks, from = (t - r * blocks) * block, yo = r * m.n + from;
      int64_t ao, bo;
      m.rows.at(r, &ao, &bo);
      const int64_t n = m.n - from < block ? m.n - from : block;
      row(fn, a + ao + (m.aStep ? from : 0), m.aStep, b + bo + (m.bStep ? from : 0), m.bStep, y + yo, n);
    }
  });
}
}  // namespace

namespace kernels {

Status fill(Context& ctx, const NsCall& call, const op::fill::Params& p) {
  const int64_t n = count(call.out[0]);
  const float v = p.value;
  const size_t size = dtypeSize(p.dtype);
  uint32_t bits = 0;
  if (p.dtype == DType::f32) {
    std::memcpy(&bits, &v, 4);
  } else {
    const NsTensor from{const_cast<float*>(&v), static_cast<int32_t>(DType::f32), 1, {1}};
    const NsTensor to{&bits, static_cast<int32_t>(p.dtype), 1, {1}};
    const op::cast::Params cp{p.dtype};
    const NsCall one{op::cast::kId, 1, 1, &from, &to, &cp};
    if (Status s = cast(ctx, one, cp); !s.ok()) return s;
  }
  char* y = out<char>(call, 0);
  ctx.pool.parallelFor(n, kGrain, [&](int64_t b, int64_t e, int) {
    if (size == 4) {
      uint32_t* q = reinterpret_cast<uint32_t*>(y);
      for (int64_t i = b; i < e; i++) q[i] = bits;
    } else if (size == 2) {
      uint16_t* q = reinterpret_cast<uint16_t*>(y);
      for (int64_t i = b; i < e; i++) q[i] = static_cast<uint16_t>(bits);
    } else {
      std::memset(y + b, static_cast<int>(bits), static_cast<size_t>(e - b));
    }
  });
  return {};
}

Status unary(Context& ctx, const NsCall& call, const op::unary::Params& p) {
  if (dtype(call.in[0]) != DType::f32) return failure(NS_UNSUPPORTED, "[unary] x is %s, accepted: f32", dtypeName(dtype(call.in[0])));
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(UnaryRow);
  ctx.pool.parallelFor(count(call.in[0]), kGrain, [&](int64_t b, int64_t e, int) { row(p.fn, x + b, y + b, e - b); });
  return {};
}

Status binary(Context& ctx, const NsCall& call, const op::binary::Params& p) {
  switch (dtype(call.in[0])) {
    case DType::f32: broadcast<float>(ctx, call, p.fn, HWY_DYNAMIC_DISPATCH(BinaryRowF32)); return {};
    case DType::i32: broadcast<int32_t>(ctx, call, p.fn, HWY_DYNAMIC_DISPATCH(BinaryRowI32)); return {};
    default: return failure(NS_UNSUPPORTED, "[binary] a is %s, accepted: f32, i32", dtypeName(dtype(call.in[0])));
  }
}

Status affine(Context& ctx, const NsCall& call, const op::affine::Params& p) {
  if (dtype(call.in[0]) != DType::f32) return failure(NS_UNSUPPORTED, "[affine] x is %s, accepted: f32", dtypeName(dtype(call.in[0])));
  const float* x = in<float>(call, 0);
  float* y = out<float>(call, 0);
  const auto row = HWY_DYNAMIC_DISPATCH(AffineRow);
  ctx.pool.parallelFor(count(call.in[0]), kGrain, [&](int64_t b, int64_t e, int) { row(p, x + b, y + b, e - b); });
  return {};
}

Status accumulate(Context& ctx, const NsCall& call, const op::accumulate::Params& p) {
  if (dtype(call.in[0]) != DType::f32 || dtype(call.in[1]) != DType::f32) {
    return failure(NS_UNSUPPORTED, "[accumulate] y is %s and x is %s, accepted: f32", dtypeName(dtype(call.in[0])),
                   dtypeName(dtype(call.in[1])));
  }
  float* y = mut<float>(call, 0);
  const float* x = in<float>(call, 1);
  const auto row = HWY_DYNAMIC_DISPATCH(AccumulateRow);
  ctx.pool.parallelFor(count(call.in[0]), kGrain, [&](int64_t b, int64_t e, int) { row(p, y + b, x + b, e - b); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
