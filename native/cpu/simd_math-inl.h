// Vector math shared by the kernels: exp, tanh, sigmoid, silu, gelu (tanh form) and the f16/bf16 conversions.
// Floor: about 0.5 ns per element and core for exp on 8 lanes. Every function is the same sequence of operations for every lane, so
// a value does not depend on its position. Relative error of exp about 1e-7; tanh, sigmoid, silu, gelu 1e-7 to 3e-7.
// Reference: Cephes (expf, tanhf: reduction and polynomials). A Highway header: include it inside foreach_target files only. Call
// by qualified name where <hwy/contrib/math/math-inl.h> is included too.
#if defined(NS_CPU_SIMD_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_SIMD_MATH_INL_H_
#undef NS_CPU_SIMD_MATH_INL_H_
#else
#define NS_CPU_SIMD_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// e^r - 1 for r = x - n * log 2, n the integer next to x / log 2.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpRest(D d, V x, V n) {
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, r, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, r, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, r, hn::Set(d, 5.0000001201e-1f));
  return hn::MulAdd(p, hn::Mul(r, r), r);
}

// e^x. Subnormal results are exact to their last place, above 88.72 inf, below -104 zero, NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x0) {
  const hn::RebindToSigned<D> di;
  const V x = hn::Max(hn::Min(x0, hn::Set(d, 89.0f)), hn::Set(d, -105.0f));
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  const V p = hn::Add(ExpRest(d, x, n), hn::Set(d, 1.0f));
  // 2^n in two factors: n reaches 129 and -151.
  const auto ni = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(ni);
  const auto bias = hn::Set(di, 127);
  const V s0 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V s1 = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(ni, half), bias)));
  return hn::IfThenElse(hn::Eq(x0, x0), hn::Mul(hn::Mul(p, s0), s1), x0);
}

// e^x for x <= 0 (softmax after the maximum is subtracted): results below 1.2e-38 are zero. x above 88 is the caller's error.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpNonPositive(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V n = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504088896341f)));
  const V p = hn::Add(ExpRest(d, x, n), hn::Set(d, 1.0f));
  const V s = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127))));
  const V y = hn::IfThenElseZero(hn::Ge(x, hn::Set(d, -87.0f)), hn::Mul(p, s));
  return hn::IfThenElse(hn::Eq(x, x), y, x);
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V a = hn::Abs(x);
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, -5.70498872745e-3f);
  p = hn::MulAdd(p, z, hn::Set(d, 2.06390887954e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, -5.37397155531e-2f));
  p = hn::MulAdd(p, z, hn::Set(d, 1.33314422036e-1f));
  p = hn::MulAdd(p, z, hn::Set(d, -3.33332819422e-1f));
  const V small = hn::MulAdd(hn::Mul(p, z), x, x);
  const V e = Exp(d, hn::Add(a, a));
  const V big = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(e, one)));
  return hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.625f)), small, hn::CopySign(big, x));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return hn::Div(one, hn::Add(one, Exp(d, hn::Neg(x))));
}

// x * sigmoid(x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Silu(D d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(x))));
}

// Silu with one power of two, from the bits of the rounded exponent, and zero below -87, where it is smaller than 2e-36.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ShortSilu(D d, V z) {
  const hn::RebindToSigned<D> di;
  const V x = hn::Max(hn::Min(hn::Neg(z), hn::Set(d, 87.0f)), hn::Set(d, -87.0f));
  const V shifted = hn::MulAdd(x, hn::Set(d, 1.44269504088896341f), hn::Set(d, 12582912.0f));  // 1.5 * 2^23: rounds to an integer
  const V n = hn::Sub(shifted, hn::Set(d, 12582912.0f));
  const V p = ExpRest(d, x, n);
  const V power = hn::BitCast(d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(di, shifted)), hn::Set(di, 127 << 23)));
  return hn::IfThenZeroElse(hn::Lt(z, hn::Set(d, -87.0f)), hn::Div(z, hn::MulAdd(p, power, hn::Add(power, hn::Set(d, 1.0f)))));
}

// 0.5 x (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3), as x * sigmoid(2u)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluTanh(D d, V x) {
  const V c = hn::MulAdd(hn::Mul(x, x), hn::Set(d, -1.5957691216057308f * 0.044715f), hn::Set(d, -1.5957691216057308f));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Mul(c, x))));
}

// Lanes(d) bf16 bit patterns at p (any alignment), exact.
template <class D>
HWY_INLINE hn::Vec<D> LoadBF16(D d, const uint16_t* HWY_RESTRICT p) {
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du, hn::LoadU(d16, p))));
}

// Lanes(d) f16 bit patterns at p (any alignment), exact (subnormals, infinities and NaN too).
template <class D>
HWY_INLINE hn::Vec<D> LoadF16(D d, const uint16_t* HWY_RESTRICT p) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, D> d16;
  return hn::PromoteTo(d, hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
#else
  const hn::RebindToUnsigned<D> du;
  const hn::Rebind<uint16_t, D> d16;
  const auto h = hn::PromoteTo(du, hn::LoadU(d16, p));
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du, 0x8000u)));
  const auto em = hn::ShiftLeft<13>(hn::And(h, hn::Set(du, 0x7fffu)));
  const auto scaled = hn::BitCast(du, hn::Mul(hn::BitCast(d, em), hn::Set(d, 5.192296858534828e33f)));  // 2^112
  const hn::RebindToSigned<D> di;
  const auto special = hn::Gt(hn::BitCast(di, em), hn::Set(di, 0x0f7fffff));
  const auto inf = hn::IfThenElseZero(hn::RebindMask(du, special), hn::Set(du, 0x7f800000u));
  return hn::BitCast(d, hn::Or(hn::Or(scaled, inf), sign));
#endif
}

// Rounds to nearest even; NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreBF16(D /*d*/, V v, uint16_t* HWY_RESTRICT p) {
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint16_t, D> d16;
  const auto u = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(u, hn::Add(odd, hn::Set(du, 0x7fffu))));
  const auto nan = hn::Or(hn::ShiftRight<16>(u), hn::Set(du, 0x40u));
  const auto r = hn::IfThenElse(hn::RebindMask(du, hn::Eq(v, v)), rounded, nan);
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, r)), d16, p);
}

// Rounds to nearest even; above 65519.99 inf, NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void StoreF16(D d, V v, uint16_t* HWY_RESTRICT p) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, D> d16;
  hn::StoreU(hn::DemoteTo(d16, v), d16, reinterpret_cast<hwy::float16_t*>(p));
#else
  const hn::RebindToUnsigned<D> du;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<uint16_t, D> d16;
  const auto sign = hn::And(hn::BitCast(du, v), hn::Set(du, 0x80000000u));
  const auto a = hn::Xor(hn::BitCast(du, v), sign);
  const auto ai = hn::BitCast(di, a);
  const auto magic = hn::Set(du, 0x3f000000u);
  const auto sub = hn::Sub(hn::BitCast(du, hn::Add(hn::BitCast(d, a), hn::BitCast(d, magic))), magic);
  const auto odd = hn::And(hn::ShiftRight<13>(a), hn::Set(du, 1u));
  const auto normal = hn::ShiftRight<13>(hn::Add(hn::Add(a, hn::Set(du, 0xc8000fffu)), odd));
  auto r = hn::IfThenElse(hn::RebindMask(du, hn::Gt(hn::Set(di, 0x38800000), ai)), sub, normal);
  r = hn::IfThenElse(hn::RebindMask(du, hn::Gt(ai, hn::Set(di, 0x477fffff))), hn::Set(du, 0x7c00u), r);
  r = hn::IfThenElse(hn::RebindMask(du, hn::Gt(ai, hn::Set(di, 0x7f800000))), hn::Set(du, 0x7e00u), r);
  r = hn::Or(r, hn::ShiftRight<16>(sign));
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, r)), d16, p);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_SIMD_MATH_INL_H_
