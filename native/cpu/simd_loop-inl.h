// Loops over arrays in SIMD vectors whose last, partial vector goes through the same arithmetic as every other one: a lane's value never
// depends on its place. Included once per target by a file that uses foreach_target.h; no include guard besides Highway's toggle.
#if defined(NS_SIMD_LOOP_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_SIMD_LOOP_INL_H
#undef NS_SIMD_LOOP_INL_H
#else
#define NS_SIMD_LOOP_INL_H
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The n (< Lanes) values at p, the other lanes `fill`; reads nothing behind p + n.
template <class D, class T>
HWY_INLINE hn::Vec<D> LoadPart(D d, const T* p, size_t n, T fill) {
  HWY_ALIGN T lanes[hn::MaxLanes(d)];
  hn::Store(hn::Set(d, fill), d, lanes);
  std::memcpy(lanes, p, n * sizeof(T));
  return hn::Load(d, lanes);
}

// Writes the first n (< Lanes) lanes of v to p and nothing behind.
template <class D, class T>
HWY_INLINE void StorePart(D d, hn::Vec<D> v, T* p, size_t n) {
  HWY_ALIGN T lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  std::memcpy(p, lanes, n * sizeof(T));
}

// y[i] = f(x[i]); y may be x.
template <class D, class T, class F>
HWY_INLINE void Map(D d, const T* x, T* y, int64_t n, F f) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(f(hn::LoadU(d, x + i)), d, y + i);
  if (hn::MaxLanes(d) > 1 && i < n)
    StorePart(d, f(LoadPart(d, x + i, static_cast<size_t>(n - i), T(1))), y + i, static_cast<size_t>(n - i));
}

// y[i] = f(a[i], b[i]); y may be a or b.
template <class D, class T, class F>
HWY_INLINE void Map2(D d, const T* a, const T* b, T* y, int64_t n, F f) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + N <= n; i += N) hn::StoreU(f(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, y + i);
  if (hn::MaxLanes(d) > 1 && i < n) {
    const size_t r = static_cast<size_t>(n - i);
    StorePart(d, f(LoadPart(d, a + i, r, T(1)), LoadPart(d, b + i, r, T(1))), y + i, r);
  }
}

#if HWY_TARGET != HWY_SCALAR
// Four rows of four 32-bit values to columns: to[i * step + r] = row r [i].
template <class T>
HWY_INLINE void Transpose4(const T* r0, const T* r1, const T* r2, const T* r3, T* to, int64_t step) {
  const hn::Full128<T> d;
  const auto v0 = hn::LoadU(d, r0), v1 = hn::LoadU(d, r1), v2 = hn::LoadU(d, r2), v3 = hn::LoadU(d, r3);
  const auto lo02 = hn::InterleaveLower(d, v0, v2), lo13 = hn::InterleaveLower(d, v1, v3);
  const auto hi02 = hn::InterleaveUpper(d, v0, v2), hi13 = hn::InterleaveUpper(d, v1, v3);
  hn::StoreU(hn::InterleaveLower(d, lo02, lo13), d, to);
  hn::StoreU(hn::InterleaveUpper(d, lo02, lo13), d, to + step);
  hn::StoreU(hn::InterleaveLower(d, hi02, hi13), d, to + 2 * step);
  hn::StoreU(hn::InterleaveUpper(d, hi02, hi13), d, to + 3 * step);
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif
