// Micro-kernel of the k-major product (gemm_tn.h), compiled once per instruction set: rows x 16 (or 32, 64) sums in registers as in
// gemm_kernel-inl.h, but the lines of a panel lie in runs, a step apart, and every panel has an address of its own.
// A row of dy's tile is padded to 4, 8 or 16 floats: packing then stores whole aligned vectors.
#if defined(NS_CPU_GEMM_TN_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef NS_CPU_GEMM_TN_KERNEL_INL_H_
#undef NS_CPU_GEMM_TN_KERNEL_INL_H_
#else
#define NS_CPU_GEMM_TN_KERNEL_INL_H_
#endif

#include "native/cpu/gemm_kernel-inl.h"
#include "native/cpu/gemm_tn.h"

#ifndef NS_CPU_GEMM_TN_KERNEL_ONCE_
#define NS_CPU_GEMM_TN_KERNEL_ONCE_
namespace ns::cpu {
constexpr int64_t kTnAhead = 8;  // rows that packing fetches in advance: strided rows are beyond what the hardware foresees
}  // namespace ns::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace ns::cpu {
namespace HWY_NAMESPACE {

constexpr int PaddedRows(int rows) { return rows <= 4 ? 4 : rows <= 8 ? 8 : 16; }

template <int Panels, int Rows>
HWY_INLINE void TnStep(const float* HWY_RESTRICT a, const float* const (&w)[Panels], int64_t at, VF (&sum)[Rows][Panels * kVectors]) {
  constexpr int kCols = Panels * kVectors;
  const DF d;
  VF b[kCols];
  NS_UNROLL(64)
  for (int v = 0; v < kCols; v++) b[v] = hn::Load(d, w[v / kVectors] + at + (v % kVectors) * kLanes);
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    const VF x = hn::Set(d, a[r]);
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) sum[r][v] = hn::MulAdd(x, b[v], sum[r][v]);
  }
}

// a [rows of the block][PaddedRows]; columns: one address per panel; the sums are added to acc [Rows][Panels * 16].
using TnKernel = void (*)(const float* a, const float* const* columns, const Segments& s, int64_t step, float* acc);

template <int Panels, int Rows>
void TnMicroKernel(const float* HWY_RESTRICT a, const float* const* columns, const Segments& s, int64_t step, float* HWY_RESTRICT acc) {
  constexpr int kCols = Panels * kVectors, kStride = PaddedRows(Rows);
  const DF d;
  VF sum[Rows][kCols];
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) sum[r][v] = hn::Zero(d);
  }
  for (int64_t run = 0; run < s.count; run++) {
    const float* w[Panels];
    NS_UNROLL(4)
    for (int p = 0; p < Panels; p++) w[p] = columns[p] + s.start[run];
    int64_t i = 0;
    for (; i + 4 <= s.length; i += 4) {
      NS_UNROLL(4)
      for (int u = 0; u < 4; u++) TnStep<Panels, Rows>(a + u * kStride, w, u * step, sum);
      a += 4 * kStride;
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) w[p] += 4 * step;
    }
    for (; i < s.length; i++) {
      TnStep<Panels, Rows>(a, w, 0, sum);
      a += kStride;
      NS_UNROLL(4)
      for (int p = 0; p < Panels; p++) w[p] += step;
    }
  }
  NS_UNROLL(16)
  for (int r = 0; r < Rows; r++) {
    NS_UNROLL(64)
    for (int v = 0; v < kCols; v++) {
      float* to = acc + r * Panels * 16 + v * kLanes;
      hn::Store(hn::Add(hn::Load(d, to), sum[r][v]), d, to);
    }
  }
}

template <int Panels, int... I>
constexpr std::array<TnKernel, sizeof...(I)> TnKernelRow(std::integer_sequence<int, I...>) {
  return {{TnMicroKernel<Panels, I + 1>...}};
}

inline TnKernel PickTnKernel(int panels, int rows) {
  static constexpr auto one = TnKernelRow<1>(std::make_integer_sequence<int, kRows>());
  static constexpr auto two = TnKernelRow<2>(std::make_integer_sequence<int, kRows2>());
  static constexpr auto four = TnKernelRow<4>(std::make_integer_sequence<int, kRows4 + (kRows4 == 0)>());
  return panels == 4   ? four[static_cast<size_t>(rows - 1)]
         : panels == 2 ? two[static_cast<size_t>(rows - 1)]
                       : one[static_cast<size_t>(rows - 1)];
}

// [0, n) cut into tiles of nearly equal height.
struct TnTiles {
  int64_t n, count;
  explicit TnTiles(int64_t rows) : n(rows), count(ceilDiv(rows, kRows)) {}
  int64_t start(int64_t i) const { return n * i / count; }
  int size(int64_t i) const { return static_cast<int>(start(i + 1) - start(i)); }
};

// Panels that one call of the kernel takes from column c on.
inline int PanelsAt(const TnTiles& t, int64_t c, int64_t columns) {
  const int wide = PanelsFor(static_cast<int>(ceilDiv(t.n, t.count)));
  return columns - c >= wide ? wide : (wide == 4 && columns - c >= 2) ? 2 : 1;
}

// Rows of x next to each other in memory, cut into tiles: tile i takes size[i] floats from from[i] on and gives them to to[i], a padded row
// further each time. Whole vectors are read where that stays before `end`, and up to 16 floats behind a tile are written.
struct Narrow {
  static constexpr int kMost = 80;
  int count = 0;
  int from[kMost], size[kMost];
  float* to[kMost];
};

inline void PackNarrow(const float* HWY_RESTRICT x, int64_t stride, int64_t rows, const Narrow& t, const float* end) {
  const DF d;
  const int first = t.from[0], last = t.from[t.count - 1] + t.size[t.count - 1];
  for (int64_t m = 0; m < rows; m++, x += stride) {
    for (int i = first; i < last; i += 16) __builtin_prefetch(x + kTnAhead * stride + i);
    const bool inside = end - x >= last + 16;
    for (int i = 0; i < t.count; i++) {
      const int size = t.size[i];
      const float* from = x + t.from[i];
      float* to = t.to[i] + m * PaddedRows(size);
      if (inside) {
        for (int r = 0; r < size; r += kLanes) hn::StoreU(hn::LoadU(d, from + r), d, to + r);
      } else {
        for (int r = 0; r < size; r++) to[r] = from[r];
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace ns::cpu
HWY_AFTER_NAMESPACE();

#endif  // NS_CPU_GEMM_TN_KERNEL_INL_H_
