// Tile kernels of attention: scores, online softmax, weighted sum of values, all with queries in the lanes. Included once per target.
// A tile is V vectors of queries (VN lanes), transposed: q [c][VN], scores [64][VN], output [c][VN]. Keys and values are read as rows, one
// broadcast per value, so they need no packing and neither maximum nor sum crosses lanes. A block is 64 keys counted from key 0. Every sum
// runs over keys or channels in order with one accumulator per output, and a masked key adds an exact zero where its value is finite,
// so a lane depends on its own query and its visible keys alone, whatever V and the other lanes are.
#if defined(NS_CPU_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_ATTENTION_TILE_INL_H_
#undef NS_CPU_ATTENTION_TILE_INL_H_
#else
#define NS_CPU_ATTENTION_TILE_INL_H_
#endif

#include "hwy/cache_control.h"
#include "native/cpu/attention-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

// Keys (or channels) per register tile, a divisor of 64, and most vectors of queries: kAttGroup * kAttVectors sums, the vectors and a
// broadcast in 32 or 16 registers (SSE needs another for the product).
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
constexpr int kAttGroup = 8, kAttVectors = 3;
#elif HWY_ARCH_ARM_A64
constexpr int kAttGroup = 8, kAttVectors = 3;
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
constexpr int kAttGroup = 4, kAttVectors = 3;
#else
constexpr int kAttGroup = 4, kAttVectors = 2;
#endif

// The narrowest tile: half a vector of AVX-512, else one vector.
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
using AttNarrow = hn::Half<AttF>;
#else
using AttNarrow = AttF;
#endif

HWY_INLINE int64_t AttNarrowLanes() { return static_cast<int64_t>(hn::Lanes(AttNarrow())); }

// Vectors of the next tile where `lanes` (a multiple of the narrowest tile) are to be done; 0: a narrow one.
HWY_INLINE int64_t AttVectors(int64_t lanes) {
  const int64_t left = lanes / AttLanes();
  if (kAttVectors > 2 && left != 4 && left >= 3) return 3;
  return std::min<int64_t>(left, 2);
}

#define NS_ATT_GROUP(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)

// x times the vectors q0, q1, q2 is added to the sums of row r.
#define NS_ATT_ADD(r, value)                   \
  if (r < kAttGroup) {                         \
    const auto x = hn::Set(d, value);          \
    a##r = hn::MulAdd(x, q0, a##r);            \
    if (V > 1) b##r = hn::MulAdd(x, q1, b##r); \
    if (V > 2) e##r = hn::MulAdd(x, q2, e##r); \
  }

#define NS_ATT_STORE(r, to)                       \
  if (r < kAttGroup) {                            \
    hn::StoreU(a##r, d, (to));                    \
    if (V > 1) hn::StoreU(b##r, d, (to) + N);     \
    if (V > 2) hn::StoreU(e##r, d, (to) + 2 * N); \
  }

constexpr int64_t kAttSoon = 6;  // rows

HWY_INLINE void AttFetch(const void* row, int64_t bytes) {
  for (int64_t b = 0; b < bytes; b += 64) hwy::Prefetch(static_cast<const char*>(row) + b);
}

// Rows that are wanted soon, fetched a few per group while the kernels compute: they lie too far apart for the core to foresee them.
struct AttAhead {
  struct Rows {
    const char* at;
    int64_t step, left, each;
  };
  Rows rows[6];
  int count = 0;
  int64_t bytes, calls;  // of a row; how often go() will be called

  AttAhead(int64_t rowBytes, int64_t expected) : bytes(rowBytes), calls(expected) {}
  void add(const void* first, int64_t step, int64_t n) {
    if (n > 0) rows[count++] = {static_cast<const char*>(first), step, n, (n + calls - 1) / calls};
  }
  HWY_INLINE void go() {
    for (int i = 0; i < count; i++) {
      Rows& r = rows[i];
      const int64_t n = std::min(r.each, r.left);
      for (int64_t k = 0; k < n; k++, r.at += r.step) AttFetch(r.at, bytes);
      r.left -= n;
    }
  }
};

// s[j][lane] = sum_i k[j][i] * q[i][lane] for `groups` groups of keys of c floats.
template <int V, class D>
HWY_INLINE void AttTileScores(D d, const float* HWY_RESTRICT q, const float* HWY_RESTRICT k, int64_t c, int64_t groups, AttAhead& ahead,
                              float* HWY_RESTRICT s) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(d)), VN = V * N;
  for (int64_t g = 0; g < groups; g++, k += kAttGroup * c, s += kAttGroup * VN) {
    ahead.go();
#define NS_X(r) hn::Vec<D> a##r = hn::Zero(d), b##r = hn::Zero(d), e##r = hn::Zero(d);
    NS_ATT_GROUP(NS_X)
#undef NS_X
    const float* qp = q;
    for (int64_t i = 0; i < c; i++, qp += VN) {
      const auto q0 = hn::LoadU(d, qp), q1 = hn::LoadU(d, qp + (V > 1 ? N : 0)), q2 = hn::LoadU(d, qp + (V > 2 ? 2 * N : 0));
      const float* kp = k + i;
#define NS_X(r) NS_ATT_ADD(r, kp[r * c])
      NS_ATT_GROUP(NS_X)
#undef NS_X
    }
#define NS_X(r) NS_ATT_STORE(r, s + r * VN)
    NS_ATT_GROUP(NS_X)
#undef NS_X
  }
}

// o[i][lane] = o[i][lane] * alpha[lane] + sum_j s[j][lane] * v[j][i] for `groups` groups of channels.
template <int V, class D>
HWY_INLINE void AttTileValues(D d, const float* HWY_RESTRICT s, const float* HWY_RESTRICT v, int64_t stride, int64_t keys, int64_t groups,
                              const float* HWY_RESTRICT alpha, AttAhead& ahead, float* HWY_RESTRICT o) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(d)), VN = V * N;
  for (int64_t g = 0; g < groups; g++, v += kAttGroup, o += kAttGroup * VN) {
    ahead.go();
    const auto f0 = hn::LoadU(d, alpha), f1 = hn::LoadU(d, alpha + (V > 1 ? N : 0)), f2 = hn::LoadU(d, alpha + (V > 2 ? 2 * N : 0));
#define NS_X(r)                                                          \
  hn::Vec<D> a##r = hn::Zero(d), b##r = hn::Zero(d), e##r = hn::Zero(d); \
  if (r < kAttGroup) {                                                   \
    a##r = hn::Mul(hn::LoadU(d, o + r * VN), f0);                        \
    if (V > 1) b##r = hn::Mul(hn::LoadU(d, o + r * VN + N), f1);         \
    if (V > 2) e##r = hn::Mul(hn::LoadU(d, o + r * VN + 2 * N), f2);     \
  }
    NS_ATT_GROUP(NS_X)
#undef NS_X
    const float *qp = s, *vp = v;
    for (int64_t j = 0; j < keys; j++, qp += VN, vp += stride) {
      const auto q0 = hn::LoadU(d, qp), q1 = hn::LoadU(d, qp + (V > 1 ? N : 0)), q2 = hn::LoadU(d, qp + (V > 2 ? 2 * N : 0));
#define NS_X(r) NS_ATT_ADD(r, vp[r])
      NS_ATT_GROUP(NS_X)
#undef NS_X
    }
#define NS_X(r) NS_ATT_STORE(r, o + r * VN)
    NS_ATT_GROUP(NS_X)
#undef NS_X
  }
}

#undef NS_ATT_STORE
#undef NS_ATT_ADD
#undef NS_ATT_GROUP

// Scores (in units of log 2) to weights under the running maximum; alpha: the factor for what was summed before. limit, where given: how
// many of these keys each lane sees; the others get weight zero.
template <class D>
HWY_INLINE void AttTileSoftmax(D d, float* HWY_RESTRICT s, int64_t keys, int64_t VN, const float* limit, float* HWY_RESTRICT max,
                               float* HWY_RESTRICT sum, float* HWY_RESTRICT alpha) {
  const int64_t N = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t v = 0; v < VN; v += N) {
    const auto before = hn::LoadU(d, max + v);
    auto top = before;
    float* p = s + v;
    if (limit) {
      const auto seen = hn::LoadU(d, limit + v), least = hn::Set(d, -std::numeric_limits<float>::infinity());
      for (int64_t j = 0; j < keys; j++) {
        const auto x = hn::IfThenElse(hn::Lt(hn::Set(d, static_cast<float>(j)), seen), hn::LoadU(d, p + j * VN), least);
        hn::StoreU(x, d, p + j * VN);
        top = hn::Max(top, x);
      }
    } else {
      for (int64_t j = 0; j < keys; j++) top = hn::Max(top, hn::LoadU(d, p + j * VN));
    }
    hn::StoreU(top, d, max + v);
    const auto factor = AttExp2(d, hn::Sub(before, top));
    hn::StoreU(factor, d, alpha + v);
    auto total = hn::Mul(hn::LoadU(d, sum + v), factor);
    for (int64_t j = 0; j < keys; j++) {
      const auto x = AttExp2(d, hn::Sub(hn::LoadU(d, p + j * VN), top));
      hn::StoreU(x, d, p + j * VN);
      total = hn::Add(total, x);
    }
    hn::StoreU(total, d, sum + v);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_ATTENTION_TILE_INL_H_
