// fill, cast, unary, unary_grad, affine, affine_grad, accumulate.
// Floor: bound by memory; bytes = inputs + outputs once (unary f32 8 per element, unary_grad and accumulate 12, in 16 bits half of it).
// Layout: contiguous. A thread takes 8 elements in accesses of 16 bytes; what is left, or all of an unaligned tensor, goes one by one.
// Reference: torch.Tensor ops of the same names; values are computed in f32 and rounded once.
#include "cuda/common/exact.h"
#include "cuda/kernels/any.cuh"
#include "cuda/kernels/functions.cuh"

namespace ns::cuda {
namespace {

// f takes N values of up to two operands and leaves N results in the first.
template <class F>
__global__ void mapKernel(F f, In a, In b, Out y, int64_t packs, int64_t n) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) {
    float u[kWide], v[kWide];
    load(a, i * kWide, u);
    if (b.data) load(b, i * kWide, v);
    f(u, v);
    store(y, i * kWide, u);
  }
  for (int64_t i = packs * kWide + firstItem(); i < n; i += itemStep()) {
    float u[1], v[1];
    load(a, i, u);
    if (b.data) load(b, i, v);
    f(u, v);
    store(y, i, u);
  }
}

template <class F>
Status map(const Context& ctx, F f, const NsTensor& a, const NsTensor* b, const NsTensor& y) {
  const In second = b ? inOf(*b) : In{nullptr, DType::f32};
  const int64_t n = count(y), packs = widePacks(n, aligned16(a.data) && aligned16(second.data) && aligned16(y.data));
  return launch(ctx, mapKernel<F>, itemShape(ctx, wideItems(n, packs)), f, inOf(a), second, outOf(y), packs, n);
}

template <int N, class F>
__device__ inline void each(float (&u)[N], F f) {
#pragma unroll
  for (int i = 0; i < N; i++) u[i] = f(u[i]);
}
template <int N, class F>
__device__ inline void each(float (&u)[N], const float (&v)[N], F f) {
#pragma unroll
  for (int i = 0; i < N; i++) u[i] = f(u[i], v[i]);
}

struct Unary {
  op::unary::Fn fn;
  template <int N>
  __device__ void operator()(float (&u)[N], const float (&)[N]) const {
    using Fn = op::unary::Fn;
    switch (fn) {
      case Fn::silu: return each(u, [](float x) { return silu(x); });
      case Fn::gelu: return each(u, [](float x) { return gelu(x); });
      case Fn::exp: return each(u, [](float x) { return expf(x); });
      case Fn::log: return each(u, [](float x) { return logf(x); });
      case Fn::sqrt: return each(u, [](float x) { return sqrtf(x); });
      case Fn::rsqrt: return each(u, [](float x) { return 1.0f / sqrtf(x); });
      case Fn::tanh: return each(u, [](float x) { return tanhf(x); });
      case Fn::sigmoid: return each(u, [](float x) { return sigmoid(x); });
      case Fn::abs: return each(u, [](float x) { return fabsf(x); });
      case Fn::neg: return each(u, [](float x) { return -x; });
      case Fn::square: return each(u, [](float x) { return x * x; });
      case Fn::recip: return each(u, [](float x) { return 1.0f / x; });
    }
  }
};

struct UnaryGrad {
  op::unary_grad::Fn fn;
  template <int N>
  __device__ void operator()(float (&u)[N], const float (&dy)[N]) const {
    using Fn = op::unary_grad::Fn;
    switch (fn) {
      case Fn::silu: return each(u, dy, [](float x, float g) { return g * siluSlope(x); });
      case Fn::gelu: return each(u, dy, [](float x, float g) { return g * geluSlope(x); });
      case Fn::exp: return each(u, dy, [](float x, float g) { return g * expf(x); });
      case Fn::log: return each(u, dy, [](float x, float g) { return g / x; });
      case Fn::sqrt: return each(u, dy, [](float x, float g) { return g * 0.5f / sqrtf(x); });
      case Fn::rsqrt: return each(u, dy, [](float x, float g) { return g * -0.5f / (x * sqrtf(x)); });
      case Fn::tanh: return each(u, dy, [](float x, float g) { return g * tanhSlope(x); });
      case Fn::sigmoid: return each(u, dy, [](float x, float g) { return g * sigmoidSlope(x); });
      case Fn::abs: return each(u, dy, [](float x, float g) { return x > 0.0f ? g : x < 0.0f ? -g : x * x; });
      case Fn::neg: return each(u, dy, [](float, float g) { return -g; });
      case Fn::square: return each(u, dy, [](float x, float g) { return g * (x + x); });
      case Fn::recip:
        return each(u, dy, [](float x, float g) {
          const float r = 1.0f / x;
          return -(g * r * r);
        });
    }
  }
};

// Not fused: affine_grad must clamp the same elements. A NaN fails both comparisons and stays.
struct Affine {
  op::affine::Params p;
  template <int N>
  __device__ void operator()(float (&u)[N], const float (&)[N]) const {
    each(u, [this](float x) {
      const float t = product(x, p.mul) + p.add;
      return t > p.hi ? p.hi : t < p.lo ? p.lo : t;
    });
  }
};

struct AffineGrad {
  op::affine_grad::Params p;
  template <int N>
  __device__ void operator()(float (&u)[N], const float (&dy)[N]) const {
    each(u, dy, [this](float x, float g) {
      const float t = product(x, p.mul) + p.add;
      return t >= p.lo && t <= p.hi ? g * p.mul : 0.0f;
    });
  }
};

// beta 0 ignores what y held, NaN too.
struct Accumulate {
  op::accumulate::Params p;
  template <int N>
  __device__ void operator()(float (&u)[N], const float (&x)[N]) const {
    each(u, x, [this](float y, float v) { return p.beta == 0.0f ? v * p.alpha : product(y, p.beta) + product(v, p.alpha); });
  }
};

// Truncates toward zero and saturates; NaN gives 0.
__host__ __device__ inline int32_t toInt(float v) {
  if (v >= 2147483648.0f) return INT32_MAX;
  if (v < -2147483648.0f) return INT32_MIN;
  return v == v ? static_cast<int32_t>(v) : 0;
}
__host__ __device__ inline uint8_t toByte(float v) {
  const int32_t i = toInt(v);
  return static_cast<uint8_t>(i < 0 ? 0 : i > 255 ? 255 : i);
}

template <int N>
__device__ inline void castPack(const In& x, const Out& y, int64_t at) {
  float v[N];
  switch (x.type) {
    case DType::i32: get<int32_t>(x.data, at, v); break;
    case DType::u8: get<uint8_t>(x.data, at, v); break;
    default: load(x, at, v); break;
  }
  if (y.type == DType::i32) {
    constexpr int kPack = N < 4 ? N : 4;
#pragma unroll
    for (int i = 0; i < N; i += kPack) {
      Pack<int32_t, kPack> pack;
#pragma unroll
      for (int j = 0; j < kPack; j++) pack.v[j] = toInt(v[i + j]);
      storePack<kPack>(static_cast<int32_t*>(y.data) + at + i, pack);
    }
  } else if (y.type == DType::u8) {
    Pack<uint8_t, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++) pack.v[i] = toByte(v[i]);
    storePack<N>(static_cast<uint8_t*>(y.data) + at, pack);
  } else {
    store(y, at, v);
  }
}

// Every pair of dtypes goes through f32; 32-bit integers keep 24 bits on that way.
__global__ void castKernel(In x, Out y, int64_t packs, int64_t n) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) castPack<kWide>(x, y, i * kWide);
  for (int64_t i = packs * kWide + firstItem(); i < n; i += itemStep()) castPack<1>(x, y, i);
}

// The 16 bytes of `pattern` again and again; n counts bytes.
__global__ void fillKernel(uint8_t* y, Pack<uint32_t, 4> pattern, int64_t packs, int64_t n) {
  for (int64_t i = firstItem(); i < packs; i += itemStep()) storePack<4>(reinterpret_cast<uint32_t*>(y) + i * 4, pattern);
  for (int64_t i = packs * 16 + firstItem(); i < n; i += itemStep()) {
    y[i] = static_cast<uint8_t>(pattern.v[0] >> (i % 4 * 8));  // every dtype's bits repeat within 4 bytes
  }
}

uint32_t bitsOf(float v, DType type) {
  uint32_t bits = 0;
  if (type == DType::f32) memcpy(&bits, &v, 4);
  if (type == DType::i32) bits = static_cast<uint32_t>(toInt(v));
  if (type == DType::u8) bits = toByte(v) * 0x01010101u;
  if (type == DType::f16 || type == DType::bf16) {
    const f16 h = fromFloat<f16>(v);
    const bf16 b = fromFloat<bf16>(v);
    uint16_t half;
    type == DType::f16 ? memcpy(&half, &h, 2) : memcpy(&half, &b, 2);
    bits = half * 0x00010001u;
  }
  return bits;
}

bool known(int32_t type) { return type >= 0 && type <= static_cast<int32_t>(DType::u8); }
}  // namespace

namespace ops {

Status fill(const Context& ctx, const NsCall& call, const op::fill::Params& p) {
  if (!known(static_cast<int32_t>(p.dtype))) return failure(NS_UNSUPPORTED, "[fill] dtype %d is not known", static_cast<int32_t>(p.dtype));
  uint8_t* y = out<uint8_t>(call, 0);
  const uint32_t bits = bitsOf(p.value, p.dtype);
  const int64_t n = count(call.out[0]) * static_cast<int64_t>(dtypeSize(p.dtype)), packs = aligned16(y) ? n / 16 : 0;
  const Pack<uint32_t, 4> pattern{{bits, bits, bits, bits}};
  return launch(ctx, fillKernel, itemShape(ctx, packs + n - packs * 16), y, pattern, packs, n);
}

Status cast(const Context& ctx, const NsCall& call, const op::cast::Params& p) {
  const NsTensor &x = call.in[0], &y = call.out[0];
  if (!known(x.dtype) || !known(static_cast<int32_t>(p.dtype))) {
    return failure(NS_UNSUPPORTED, "[cast] from dtype %d to dtype %d is not known", x.dtype, static_cast<int32_t>(p.dtype));
  }
  const int64_t n = count(x);
  if (dtype(x) == p.dtype) {
    if (n == 0) return {};
    return check(cudaMemcpyAsync(y.data, x.data, static_cast<size_t>(n) * dtypeSize(p.dtype), cudaMemcpyDeviceToDevice, ctx.stream),
                 "[cast] copy");
  }
  const int64_t packs = widePacks(n, aligned16(x.data) && aligned16(y.data));
  return launch(ctx, castKernel, itemShape(ctx, wideItems(n, packs)), inOf(x), Out{y.data, p.dtype}, packs, n);
}

Status unary(const Context& ctx, const NsCall& call, const op::unary::Params& p) {
  return map(ctx, Unary{p.fn}, call.in[0], nullptr, call.out[0]);
}

Status unary_grad(const Context& ctx, const NsCall& call, const op::unary_grad::Params& p) {
  return map(ctx, UnaryGrad{p.fn}, call.in[0], &call.in[1], call.out[0]);
}

Status affine(const Context& ctx, const NsCall& call, const op::affine::Params& p) {
  return map(ctx, Affine{p}, call.in[0], nullptr, call.out[0]);
}

Status affine_grad(const Context& ctx, const NsCall& call, const op::affine_grad::Params& p) {
  return map(ctx, AffineGrad{p}, call.in[0], &call.in[1], call.out[0]);
}

Status accumulate(const Context& ctx, const NsCall& call, const op::accumulate::Params& p) {
  return map(ctx, Accumulate{p}, call.in[0], &call.in[1], call.in[0]);
}

}  // namespace ops
}  // namespace ns::cuda
