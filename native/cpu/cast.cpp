// cast: any of f32, f16, bf16, i32, u8 to any other.
// Floor: bound by memory, source plus target bytes once.
// Layout: contiguous. Every pair but equal types goes through a block of f32 that stays in L1; 32-bit integers keep 24 bits on that way.
// Reference: torch.Tensor.to; float to integer truncates and saturates (NaN gives 0), f32 to f16/bf16 rounds to nearest even.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "native/cpu/cast.cpp"
#include "hwy/foreach_target.h"
// clang-format off
#include "hwy/highway.h"
// clang-format on
#include <cstring>

#include "native/cpu/cast.h"
#include "native/cpu/context.h"
#include "native/cpu/simd_loop-inl.h"
#include "native/cpu/simd_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;

constexpr int64_t kBlock = 1024;  // values; a multiple of every vector length

// x to f32; full vectors only are stored, so y has room for n rounded up to a vector and x is read through a padded copy at the end.
template <class T, class F>
HWY_INLINE void Widen(const T* x, float* y, int64_t n, F load) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(load(x + i), d, y + i);
  if (hn::MaxLanes(d) == 1 || i == n) return;
  HWY_ALIGN T part[hn::MaxLanes(d)] = {};
  std::memcpy(part, x + i, static_cast<size_t>(n - i) * sizeof(T));
  StorePart(d, load(part), y + i, static_cast<size_t>(n - i));
}

// f32 to y; the last, partial vector is written to a copy first.
template <class T, class F>
HWY_INLINE void Narrow(const float* x, T* y, int64_t n, F store) {
  const F32 d;
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) store(hn::LoadU(d, x + i), y + i);
  if (hn::MaxLanes(d) == 1 || i == n) return;
  HWY_ALIGN T part[hn::MaxLanes(d)];
  store(LoadPart(d, x + i, static_cast<size_t>(n - i), 0.0f), part);
  std::memcpy(y + i, part, static_cast<size_t>(n - i) * sizeof(T));
}

void WidenAny(DType from, const void* x, float* y, int64_t n) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint8_t, F32> d8;
  switch (from) {
    case DType::f32: std::memcpy(y, x, static_cast<size_t>(n) * 4); return;
    case DType::f16: return Widen(static_cast<const uint16_t*>(x), y, n, [&](const uint16_t* p) { return LoadF16(d, p); });
    case DType::bf16: return Widen(static_cast<const uint16_t*>(x), y, n, [&](const uint16_t* p) { return LoadBF16(d, p); });
    case DType::i32:
      return Widen(static_cast<const int32_t*>(x), y, n, [&](const int32_t* p) { return hn::ConvertTo(d, hn::LoadU(di, p)); });
    case DType::u8:
      return Widen(static_cast<const uint8_t*>(x), y, n,
                   [&](const uint8_t* p) { return hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(d8, p))); });
  }
}

// Truncates toward zero and saturates; NaN gives 0.
template <class V>
HWY_INLINE auto ToInt(V v) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const auto big = hn::Ge(v, hn::Set(d, 2147483648.0f));
  const auto small = hn::Lt(v, hn::Set(d, -2147483648.0f));
  const auto safe = hn::IfThenElseZero(hn::And(hn::Eq(v, v), hn::Not(hn::Or(big, small))), v);
  auto i = hn::ConvertTo(di, safe);
  i = hn::IfThenElse(hn::RebindMask(di, big), hn::Set(di, INT32_MAX), i);
  return hn::IfThenElse(hn::RebindMask(di, small), hn::Set(di, INT32_MIN), i);
}

void NarrowAny(DType to, const float* x, void* y, int64_t n) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const hn::Rebind<uint8_t, F32> d8;
  using V = hn::Vec<F32>;
  switch (to) {
    case DType::f32: std::memcpy(y, x, static_cast<size_t>(n) * 4); return;
    case DType::f16: return Narrow(x, static_cast<uint16_t*>(y), n, [&](V v, uint16_t* p) { StoreF16(d, v, p); });
    case DType::bf16: return Narrow(x, static_cast<uint16_t*>(y), n, [&](V v, uint16_t* p) { StoreBF16(d, v, p); });
    case DType::i32: return Narrow(x, static_cast<int32_t*>(y), n, [&](V v, int32_t* p) { hn::StoreU(ToInt(v), di, p); });
    // Highway 1.0.3 on AVX2 drops bit 15 instead of saturating, so values above 255 never reach DemoteTo.
    case DType::u8:
      return Narrow(x, static_cast<uint8_t*>(y), n,
                    [&](V v, uint8_t* p) { hn::StoreU(hn::DemoteTo(d8, hn::Min(ToInt(v), hn::Set(di, 255))), d8, p); });
  }
}

void CastRow(DType from, DType to, const void* x, void* y, int64_t n) {
  if (from == DType::f32) return NarrowAny(to, static_cast<const float*>(x), y, n);
  if (to == DType::f32) return WidenAny(from, x, static_cast<float*>(y), n);
  HWY_ALIGN float block[kBlock];
  const char* p = static_cast<const char*>(x);
  char* q = static_cast<char*>(y);
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t m = n - i < kBlock ? n - i : kBlock;
    WidenAny(from, p + i * static_cast<int64_t>(dtypeSize(from)), block, m);
    NarrowAny(to, block, q + i * static_cast<int64_t>(dtypeSize(to)), m);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ns::cpu {
HWY_EXPORT(CastRow);

// Shared with embedding and the image kernels.
void castRow(DType from, DType to, const void* x, void* y, int64_t n) {
  if (from == to) {
    std::memcpy(y, x, static_cast<size_t>(n) * dtypeSize(from));
    return;
  }
  HWY_DYNAMIC_DISPATCH(CastRow)(from, to, x, y, n);
}

namespace kernels {

Status cast(Context& ctx, const NsCall& call, const op::cast::Params& p) {
  const DType from = dtype(call.in[0]), to = p.dtype;
  const int32_t last = static_cast<int32_t>(DType::u8);
  if (call.in[0].dtype < 0 || call.in[0].dtype > last || static_cast<int32_t>(to) < 0 || static_cast<int32_t>(to) > last) {
    return failure(NS_UNSUPPORTED, "[cast] from dtype %d to dtype %d is not known", call.in[0].dtype, static_cast<int32_t>(to));
  }
  const char* x = in<char>(call, 0);
  char* y = out<char>(call, 0);
  const int64_t xs = static_cast<int64_t>(dtypeSize(from)), ys = static_cast<int64_t>(dtypeSize(to));
  ctx.pool.parallelFor(count(call.in[0]), 16384, [&](int64_t b, int64_t e, int) { castRow(from, to, x + b * xs, y + b * ys, e - b); });
  return {};
}

}  // namespace kernels
}  // namespace ns::cpu
#endif
